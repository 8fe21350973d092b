"""Signed checkpoints: the C2SP ``tlog-checkpoint`` in a C2SP ``signed-note``, with Ed25519.

::

    <origin>
    <size>
    <base64 root>
    <empty line>
    — <key name> base64(4-byte key id || 64-byte signature)

Key id: first 4 bytes of ``SHA-256(name || "\\n" || 0x01 || public key)``. A key is published as
``name+<hex key id>+base64(0x01 || public key)``. Specification: c2sp.org/signed-note,
c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedgate.errors import InvalidMessage

MAX_NOTE_BYTES = 64 * 1024
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class VerifierKey:
    """Whose checkpoints are believed: a name and an Ed25519 key."""

    name: str
    public: bytes  # 32 bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.public) != 32:
            raise InvalidMessage("not a log's name and Ed25519 public key")

    @property
    def id(self) -> bytes:
        named = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(named).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_b64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read ``name+id+key``; raises :class:`InvalidMessage`."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _unb64(encoded)
        if raw[:1] != _ED25519:
            raise InvalidMessage("the log's key is not an Ed25519 key")
        key = cls(name, raw[1:])
        if key.id.hex() != key_id:
            raise InvalidMessage("the log's key does not have the id that stands beside it")
        return key


@dataclass(frozen=True)
class Checkpoint:
    """A log's claim: at ``size`` entries, the root was ``root``."""

    origin: str
    size: int
    root: bytes

    def sign(self, key: Ed25519PrivateKey) -> str:
        """The signed note."""
        body = f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"
        verifier = VerifierKey(self.origin, key.public_key().public_bytes_raw())
        signature = _b64(verifier.id + key.sign(body.encode()))
        return f"{body}\n— {self.origin} {signature}\n"

    @classmethod
    def open(cls, note: str, key: VerifierKey) -> Checkpoint:
        """Verify ``note`` under ``key``; raises :class:`InvalidMessage`.

        Signatures by other keys (witnesses) may stand beside it and are ignored.
        """
        if len(note) > MAX_NOTE_BYTES:
            raise InvalidMessage("a checkpoint is too large")
        body, separator, signatures = note.partition("\n\n")
        if not separator or not signatures.endswith("\n"):
            raise InvalidMessage("a checkpoint is not a signed note")
        text = body + "\n"
        if not any(_signed(text, line, key) for line in signatures[:-1].split("\n")):
            raise InvalidMessage(
                "no valid signature of the log's key stands under the checkpoint",
                why=f"expected one of {key.name} ({key.id.hex()})",
            )
        lines = body.split("\n")
        if len(lines) < 3 or lines[0] != key.name or not _SIZE.fullmatch(lines[1]):
            raise InvalidMessage("a checkpoint lacks origin, size or root")
        root = _unb64(lines[2])
        if len(root) != 32:
            raise InvalidMessage("a checkpoint's root is not a SHA-256 hash")
        return cls(lines[0], int(lines[1]), root)


def _signed(text: str, line: str, key: VerifierKey) -> bool:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "—" or name != key.name:
        return False
    signature = _unb64(encoded)
    if signature[:4] != key.id:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _unb64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidMessage("not base64", why=str(error)) from error
    if _b64(raw) != text:  # unused bits in the last character would make a second spelling
        raise InvalidMessage("not canonical base64")
    return raw
