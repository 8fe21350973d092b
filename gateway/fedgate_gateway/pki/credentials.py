"""What a peer keeps after enrolling: certificates, its TLS key, and its identity."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Credentials:
    """What a peer needs to link to the gateway, and to sign in its own name."""

    ca: Path
    certificate: Path
    key: Path
    identity: Path

    @classmethod
    def of(cls, data_dir: Path) -> Credentials:
        return cls(
            data_dir / "ca.pem",
            data_dir / "client.pem",
            data_dir / "client.key",
            data_dir / "identity.key",
        )

    @property
    def complete(self) -> bool:
        """True once this peer has enrolled."""
        return all(file.exists() for file in (self.ca, self.certificate, self.key, self.identity))


def load_or_create_identity(data_dir: Path) -> Ed25519PrivateKey:
    """The Ed25519 identity key in ``data_dir``; it outlives enrolments, since rosters name it."""
    path = Credentials.of(private_folder(data_dir)).identity
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        pem = fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(path, pem)
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidConfig(f"{path} holds no private key", why=str(error)) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidConfig(f"the identity key {path} is not an Ed25519 key")
    return key
