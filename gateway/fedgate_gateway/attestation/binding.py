"""What evidence is bound to: this site's nonce, the enclave's key for this job, and its terms."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from fedgate.errors import InvalidMessage

NONCE_BYTES = 32
_DOMAIN = b"fedgate report data v1\0"
_MAX_KEY = 8192


@dataclass(frozen=True)
class Binding:
    """Everything that one piece of evidence vouches for together."""

    nonce: bytes  # 32 random bytes of the site that asks
    public_key: bytes  # the enclave's encoded HPKE key for this job
    job: str
    project: str
    bundle_digest: bytes  # 32 bytes, as are the other digests
    policy_digest: bytes
    roster_digest: bytes

    def report_data(self) -> bytes:
        """64 bytes: SHA-512 over a domain and each field's name and length-prefixed value.

        Raises :class:`InvalidMessage` when a field has a length that it cannot have.
        """
        for name in ("nonce", "bundle_digest", "policy_digest", "roster_digest"):
            if len(getattr(self, name)) != 32:
                raise InvalidMessage(f"the {name.replace('_', ' ')} is not 32 bytes long")
        if not 0 < len(self.public_key) <= _MAX_KEY:
            raise InvalidMessage("the enclave's key has an impossible length")
        hashed = hashlib.sha512(_DOMAIN)
        for name, value in (
            ("nonce", self.nonce),
            ("public_key", self.public_key),
            ("job", _utf8(self.job)),
            ("project", _utf8(self.project)),
            ("bundle_digest", self.bundle_digest),
            ("policy_digest", self.policy_digest),
            ("roster_digest", self.roster_digest),
        ):
            label = name.encode()
            hashed.update(struct.pack(">BQ", len(label), len(value)) + label + value)
        return hashed.digest()


def report_data(
    *,
    nonce: bytes,
    public_key: bytes,
    job: str,
    project: str,
    bundle_digest: bytes,
    policy_digest: bytes,
    roster_digest: bytes,
) -> bytes:
    """:meth:`Binding.report_data` of these fields."""
    return Binding(
        nonce, public_key, job, project, bundle_digest, policy_digest, roster_digest
    ).report_data()


def _utf8(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise InvalidMessage("a name is not Unicode text", why=str(error)) from error


def digest_bytes(text: str) -> bytes:
    """``sha256:<hex>`` as 32 bytes; raises :class:`InvalidMessage`."""
    algorithm, _, encoded = text.partition(":")
    if algorithm != "sha256" or len(encoded) != 64 or encoded != encoded.lower():
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest")
    try:
        raw = bytes.fromhex(encoded)
    except ValueError as error:
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest", why=str(error)) from error
    if len(raw) != 32:  # fromhex skips blanks
        raise InvalidMessage(f"{text!r:.100} is not a SHA-256 digest")
    return raw
