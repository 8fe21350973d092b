"""The attestation contract, in the words of RATS (RFC 9334).

An attester makes evidence; a verifier appraises it against reference values and yields claims.
Kinds are plugins: ``fedgate.attesters`` run in the enclave, ``fedgate.verifiers`` at each site.
"""

from __future__ import annotations

import re
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from fedgate.errors import EvidenceRejected, InvalidMessage

REPORT_DATA_BYTES = 64
MAX_EVIDENCE_BYTES = 256 * 1024
KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MAGIC = b"FGEV\x01"
_LENGTHS = struct.Struct(">BI")


@dataclass(frozen=True)
class Evidence:
    """What an enclave shows; opaque to everybody but the verifier of its kind."""

    kind: str
    data: bytes

    def encode(self) -> bytes:
        """``FGEV 01 | u8 kind length | u32 data length | kind | data``, big-endian."""
        if not KIND.fullmatch(self.kind):
            raise InvalidMessage(f"{self.kind!r:.40} is not a kind of evidence")
        if len(self.data) > MAX_EVIDENCE_BYTES:
            raise InvalidMessage(f"evidence of {len(self.data)} bytes is too large")
        kind = self.kind.encode("ascii")
        return _MAGIC + _LENGTHS.pack(len(kind), len(self.data)) + kind + self.data

    @classmethod
    def decode(cls, encoded: bytes) -> Evidence:
        """The strict inverse of :meth:`encode`; raises :class:`EvidenceRejected`."""
        start = len(_MAGIC) + _LENGTHS.size
        if len(encoded) < start or not encoded.startswith(_MAGIC):
            raise EvidenceRejected("the evidence is malformed", why="no such format")
        kind_bytes, data_bytes = _LENGTHS.unpack_from(encoded, len(_MAGIC))
        if data_bytes > MAX_EVIDENCE_BYTES:
            raise EvidenceRejected("the evidence is too large", why=f"{data_bytes} bytes")
        if len(encoded) != start + kind_bytes + data_bytes:
            raise EvidenceRejected("the evidence is malformed", why="its lengths do not add up")
        kind = bytes(encoded[start : start + kind_bytes]).decode("ascii", "replace")
        if not KIND.fullmatch(kind):
            raise EvidenceRejected("the evidence is malformed", why="its kind is no name")
        return cls(kind, bytes(encoded[start + kind_bytes :]))


@dataclass(frozen=True)
class ReferenceValues:
    """What a site expects of an enclave.

    ``measurements`` are lower-case hex. Where it is empty, simulated evidence of any measurement
    passes; a verifier of hardware must refuse, since nothing would say which code runs.
    """

    measurements: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Claims:
    """What appraisal established about an enclave."""

    kind: str
    #: Whether hardware vouches for it; False means that only software says so.
    hardware: bool
    measurement: str  # hex
    report_data: bytes  # 64 bytes
    #: For people and the audit log.
    details: Mapping[str, str] = field(default_factory=dict)


class Attester(ABC):
    """Makes evidence inside an enclave."""

    kind: ClassVar[str]

    @abstractmethod
    def attest(self, report_data: bytes) -> Evidence:
        """Evidence that carries exactly these 64 bytes."""


class Verifier(ABC):
    """Appraises one kind of evidence. Stateless; offline."""

    kind: ClassVar[str]

    @abstractmethod
    def verify(
        self, evidence: Evidence, *, report_data: bytes, now: datetime, reference: ReferenceValues
    ) -> Claims:
        """Raise :class:`EvidenceRejected` unless everything holds.

        ``report_data`` is what the verifier's own side computed; never taken from the evidence.
        """
