"""The log's signing key."""

from __future__ import annotations

import os
import secrets
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
from fedgate_gateway.audit.note import Checkpoint, VerifierKey

#: How a log names itself unless it is told otherwise.
ORIGIN = "fedgate.local/audit"


class LogSigner:
    """Signs checkpoints in the name of ``origin``."""

    def __init__(self, key: Ed25519PrivateKey, origin: str = ORIGIN) -> None:
        self._key = key
        self.verifier = VerifierKey(origin, key.public_key().public_bytes_raw())

    @property
    def origin(self) -> str:
        return self.verifier.name

    def sign(self, size: int, root: bytes) -> str:
        return Checkpoint(self.origin, size, root).sign(self._key)

    @classmethod
    def open(cls, path: Path, origin: str = ORIGIN) -> LogSigner:
        """Read the key at ``path``, or make one there on first start (PEM, mode 0600).

        Raises :class:`InvalidConfig` when others may read it or it is no Ed25519 key.
        """
        try:
            if not path.exists():
                _create(path)
            if path.stat().st_mode & 0o077:
                raise InvalidConfig(
                    f"the audit log's key {path} is open to others",
                    why="whoever reads it can sign another history",
                    remedy=f"chmod 600 {path}, or replace the key",
                )
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise InvalidConfig(f"cannot use the audit log's key {path}", why=str(error)) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidConfig(f"{path} holds no private key", why=str(error)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise InvalidConfig(f"the audit log's key {path} is not an Ed25519 key")
        return cls(key, origin)


def _create(path: Path) -> None:
    """Write a fresh key whole or not at all; whoever comes second keeps the first one's key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
