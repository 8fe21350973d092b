"""Files that hold an Ed25519 key, as PKCS#8 in PEM: identities of peers, signers of requests."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedgate.errors import InvalidConfig
from fedgate_gateway.pki.private_files import private_folder, read_private, write_private


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Raises :class:`InvalidConfig` for what is missing, open to others, or another key."""
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidConfig(f"{path} holds no private key", why=str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidConfig(f"the key {path} is not an Ed25519 key")
    return key


def load_or_create_signing_key(path: Path) -> Ed25519PrivateKey:
    """The key in ``path``, which is made with mode 0600 where it is missing."""
    if not path.exists():
        private_folder(path.parent)
        pem = Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        write_private(path, pem)
    return load_signing_key(path)
