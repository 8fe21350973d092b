"""A TEE that is not there: for development, and honest about it.

The evidence is a type of its own under a root whose private key is below for everybody to read.
It proves nothing but that the plumbing works. It says ``hardware = false``, and a site accepts it
only where its configuration names ``simulated``.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.errors import EvidenceRejected, InvalidMessage
from fedgate_gateway.attestation.contract import (
    REPORT_DATA_BYTES,
    Attester,
    Claims,
    Evidence,
    ReferenceValues,
    Verifier,
)

KIND = "simulated"
STATEMENT = b"SIMULATED, no TEE: fedgate development evidence v1\n"
#: The measurement of the simulated enclave of this release.
MEASUREMENT = hashlib.sha256(b"fedgate simulated enclave v1").digest()
MAX_AGE = timedelta(hours=1)
MAX_SKEW = timedelta(minutes=5)

#: The well-known development root. It is no secret, which is the point.
_ROOT = Ed25519PrivateKey.from_private_bytes(
    hashlib.sha256(b"fedgate development root: everybody knows this key").digest()
)
# statement | u8 hardware = 0 | u64 issued, Unix seconds | measurement | report data
_BODY = struct.Struct(f">{len(STATEMENT)}sBQ32s{REPORT_DATA_BYTES}s")
_SIGNATURE_BYTES = 64


class SimulatedAttester(Attester):
    """Signs what it is asked to; anybody could."""

    kind: ClassVar[str] = KIND

    def __init__(self, measurement: bytes = MEASUREMENT) -> None:
        self._measurement = measurement

    def attest(self, report_data: bytes) -> Evidence:
        if len(report_data) != REPORT_DATA_BYTES or len(self._measurement) != 32:
            raise InvalidMessage("report data are 64 bytes, a simulated measurement is 32")
        issued = int(datetime.now(UTC).timestamp())
        body = _BODY.pack(STATEMENT, 0, issued, self._measurement, report_data)
        return Evidence(KIND, body + _ROOT.sign(body))


class SimulatedVerifier(Verifier):
    """Checks simulated evidence as strictly as if it meant something."""

    kind: ClassVar[str] = KIND

    def verify(
        self, evidence: Evidence, *, report_data: bytes, now: datetime, reference: ReferenceValues
    ) -> Claims:
        if evidence.kind != KIND or len(evidence.data) != _BODY.size + _SIGNATURE_BYTES:
            raise _rejected("it is not simulated evidence of this version")
        body, signature = evidence.data[: _BODY.size], evidence.data[_BODY.size :]
        try:
            _ROOT.public_key().verify(signature, body)
        except InvalidSignature:
            raise _rejected("the development root did not sign it") from None
        statement, hardware, issued, measured, bound = _BODY.unpack(body)
        if statement != STATEMENT or hardware != 0:
            raise _rejected("it does not say that it is simulated")
        if not hmac.compare_digest(bound, report_data):
            raise _rejected("it is bound to another nonce, key or job")
        age = now - _moment(issued)
        if age > MAX_AGE or age < -MAX_SKEW:
            raise _rejected(f"it was issued {age.total_seconds():.0f} seconds ago")
        measurement = measured.hex()
        if reference.measurements and measurement not in reference.measurements:
            raise _rejected(f"its measurement {measurement} is not a reference value")
        details = {"statement": STATEMENT.decode().strip(), "issued": _moment(issued).isoformat()}
        return Claims(KIND, False, measurement, bound, details)


def _moment(issued: int) -> datetime:
    try:
        return datetime.fromtimestamp(issued, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise _rejected(f"its time is impossible: {error}") from error


def _rejected(why: str) -> EvidenceRejected:
    return EvidenceRejected("the simulated evidence does not appraise", why=why)
