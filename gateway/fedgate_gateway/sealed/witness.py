"""Proof to one receiver that a shared cargo is the very one its sender sealed.

All receivers of a cargo know its data key, so a site that works together with the gateway could
seal something else under it and have another site open that. Therefore the sender and each
receiver run the ciphertext through a MAC under a key that only the two of them share, and the
sender puts the result into a sealed letter once the cargo is under way. GMAC over a chunk is as
fast as AES-GCM itself, so this costs no hash of a model.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NoReturn

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedgate.codes import Code
from fedgate.errors import SealBroken
from fedgate.notice import Notice
from fedgate_gateway.sealed.cargo import CargoKey
from fedgate_gateway.sealed.session import SessionKeys

WITNESS_BYTES: Final = 32
_DOMAIN: Final = b"fedgate cargo witness v1"


class CargoWitness:
    """One for each session and cargo, at both ends; give it every sealed chunk in order."""

    def __init__(self, session: SessionKeys, cargo: CargoKey) -> None:
        self._aead = AESGCM(session.export(_DOMAIN + cargo.id))
        self._tags = hashlib.sha256()
        self._chunks = cargo.chunks
        self._next = 0

    def add(self, sealed: memoryview | bytes) -> None:
        """The next chunk as it is relayed; the key's tags stay here, one nonce for each chunk."""
        if self._next >= self._chunks:
            raise SealBroken(
                "the cargo is longer than announced",
                why=f"{self._chunks} chunks",
                notice=Notice(Code.TOO_LONG),
            )
        nonce = self._next.to_bytes(12, "big")
        self._next += 1
        self._tags.update(self._aead.encrypt(nonce, b"", sealed))

    def tag(self) -> bytes:
        """32 bytes for a letter; raises :class:`SealBroken` before the last chunk."""
        if self._next != self._chunks:
            raise SealBroken(
                "the cargo is not complete", why=f"{self._next} of {self._chunks} chunks"
            )
        return self._tags.digest()

    def verify(self, tag: bytes) -> None:
        """Raises :class:`SealBroken` unless the sender's tag is ours."""
        if not hmac.compare_digest(self.tag(), tag):
            raise SealBroken(
                "the cargo is not the one its sender sealed",
                why="it opens under the shared key but the sender's witness differs",
                notice=Notice(Code.ALTERED),
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a copy of a witness would use its nonces again")
