"""Proof that whoever enrols holds the identity key that it names."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedgate.errors import InvalidMessage

_CONTEXT = b"fedgate enrolment v1\0"


def statement(token: str, kind: str, name: str, csr_pem: bytes, identity: bytes) -> bytes:
    """What the identity key signs: this token, this peer, this TLS key, and itself.

    Every part is hashed to 32 bytes, so that no two lists of parts give the same statement.
    """
    parts = (token.encode(), kind.encode(), name.encode(), csr_pem, identity)
    return _CONTEXT + b"".join(hashlib.sha256(part).digest() for part in parts)


def prove(key: Ed25519PrivateKey, token: str, kind: str, name: str, csr_pem: bytes) -> bytes:
    identity = key.public_key().public_bytes_raw()
    return key.sign(statement(token, kind, name, csr_pem, identity))


def check_proof(proof: bytes, signed: bytes, identity: bytes) -> None:
    """Raise :class:`InvalidMessage` unless ``identity`` signed the statement ``signed``."""
    try:
        Ed25519PublicKey.from_public_bytes(identity).verify(proof, signed)
    except (InvalidSignature, ValueError) as error:
        raise InvalidMessage(
            "the proof of possession does not verify",
            why="it was not made with this identity key for this token, peer and request",
        ) from error
