"""What a peer keeps after enrolling: certificates, its TLS key, and its identity."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate_gateway.pki.signing_keys import load_or_create_signing_key


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
    return load_or_create_signing_key(Credentials.of(data_dir).identity)
