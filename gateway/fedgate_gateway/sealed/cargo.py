"""Cargo: something large, sealed in chunks under a data key of its own.

The data key travels inside sealed letters, so one upload serves every site that gets the letter.
Chunks are sealed as in STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, 2015): the nonce is the
chunk's index and whether it is the last, so a chunk opens only in its own place and an end can
not be moved. The associated data binds id, size, chunk size and job. A sealed chunk is 16 B
longer than its plaintext; nothing stands between chunks.

The index is spent when a chunk is sealed: a chunk is never sealed twice, because the memory it
comes from may have changed. Whoever has to start over makes a new key.

All receivers of a cargo know its key. One of them, together with the gateway, could hand the
others a different cargo; :mod:`~fedgate_gateway.sealed.witness` closes that.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field
from typing import Final, NoReturn, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedgate.codes import Code
from fedgate.errors import SealBroken
from fedgate.notice import Notice
from fedgate_gateway.sealed._binding import bind256
from fedgate_gateway.sealed._fields import text8
from fedgate_gateway.sealed.letter import (
    CARGO_ID_BYTES,
    KEY_BYTES,
    MAX_CARGO_BYTES,
    TAG_BYTES,
    CargoRef,
)

DEFAULT_CHUNK: Final = 1024 * 1024
MIN_CHUNK: Final = 64
MAX_CHUNK: Final = 16 * 1024 * 1024
MAX_CHUNKS: Final = 1 << 32
_WIRE = struct.Struct(">B16s32sQI")
CARGO_KEY_BYTES: Final = _WIRE.size
_DOMAIN = b"fedgate cargo v1"


@dataclass(frozen=True)
class CargoKey:
    """Id, data key and exact size of one cargo; belongs into a sealed letter and nowhere else."""

    id: bytes
    key: bytes = field(repr=False)
    size: int
    chunk: int = DEFAULT_CHUNK

    def __post_init__(self) -> None:
        if len(self.id) != CARGO_ID_BYTES or len(self.key) != KEY_BYTES:
            raise SealBroken("a cargo key has an id of 16 and a key of 32 bytes")
        if not MIN_CHUNK <= self.chunk <= MAX_CHUNK:
            raise SealBroken("a cargo's chunk size is out of bounds", why=str(self.chunk))
        if self.size < 0 or self.chunks > MAX_CHUNKS or self.sealed_size > MAX_CARGO_BYTES:
            raise SealBroken("a cargo's size is out of bounds", why=str(self.size))

    @classmethod
    def generate(cls, size: int, chunk: int = DEFAULT_CHUNK) -> Self:
        return cls(secrets.token_bytes(CARGO_ID_BYTES), secrets.token_bytes(KEY_BYTES), size, chunk)

    @property
    def chunks(self) -> int:
        """How many; an empty cargo has none (its size stands in the letter)."""
        return -(-self.size // self.chunk)

    @property
    def sealed_size(self) -> int:
        """Bytes of ciphertext in all."""
        return self.size + TAG_BYTES * self.chunks

    @property
    def ref(self) -> CargoRef:
        """What a letter's clear header says of it."""
        return CargoRef(self.id, self.sealed_size)

    def plain_size(self, index: int) -> int:
        """Bytes of plaintext in a chunk; raises :class:`SealBroken` beyond the last one."""
        if not 0 <= index < self.chunks:
            raise SealBroken("the cargo has no such chunk", why=f"{index} of {self.chunks}")
        return min(self.chunk, self.size - index * self.chunk)

    def to_bytes(self) -> bytes:
        return _WIRE.pack(1, self.id, self.key, self.size, self.chunk)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if len(data) != _WIRE.size:
            raise SealBroken("not a cargo key", why=f"{len(data)} bytes")
        version, id_, key, size, chunk = _WIRE.unpack(data)
        if version != 1:
            raise SealBroken("a cargo key of another version", why=str(version))
        return cls(id_, key, size, chunk)


class _Chunks:
    """The order of chunks, the same for both ends."""

    def __init__(self, key: CargoKey, job: str) -> None:
        self.key = key
        self._aead = AESGCM(key.key)
        self._bound = bind256(
            _DOMAIN,
            key.id,
            key.size.to_bytes(8, "big"),
            key.chunk.to_bytes(4, "big"),
            text8(job),
        )
        self._chunks = key.chunks
        self._next = 0
        self._broken = ""

    @property
    def next(self) -> int:
        """Index of the chunk that must come next; equals ``key.chunks`` at the end."""
        return self._next

    def finish(self) -> None:
        """Raises :class:`SealBroken` unless every chunk has passed."""
        if self._broken:
            raise SealBroken("the cargo is broken", why=self._broken)
        if self._next != self._chunks:
            raise self._failed(
                "the cargo is truncated", f"{self._next} of {self._chunks} chunks", Code.TRUNCATED
            )

    def __reduce__(self) -> NoReturn:
        raise TypeError("a copy of a cargo's state would use its nonces again")

    def _check(self, index: int) -> int:
        if self._broken:
            raise SealBroken("the cargo is broken", why=self._broken)
        if index != self._next:
            raise self._failed(
                "a cargo chunk is out of order",
                f"chunk {index}, expected {self._next}",
                Code.OUT_OF_ORDER,
            )
        if index >= self._chunks:
            raise self._failed(
                "the cargo is longer than announced", f"{self._chunks} chunks", Code.TOO_LONG
            )
        return self.key.plain_size(index)

    def _open(self, index: int, size: int, sealed: memoryview, out: memoryview) -> int:
        if sealed.nbytes != size + TAG_BYTES:
            raise self._failed(
                "a cargo chunk has the wrong size",
                f"{sealed.nbytes} bytes instead of {size + TAG_BYTES}",
                Code.WRONG_SIZE,
            )
        if out.nbytes < size:
            raise self._failed("the buffer for an opened chunk is too small", f"{out.nbytes} bytes")
        try:
            return self._aead.decrypt_into(self._nonce(index), sealed, self._bound, out[:size])
        except InvalidTag:
            out[:size] = bytes(size)  # the cipher had written before it knew
            raise self._failed(
                "a cargo chunk was altered or belongs elsewhere", f"chunk {index}", Code.ALTERED
            ) from None
        except (TypeError, ValueError, BufferError) as error:
            raise self._failed("a cargo chunk cannot be opened", str(error)) from error

    def _nonce(self, index: int) -> bytes:
        return index.to_bytes(11, "big") + (b"\1" if index + 1 == self._chunks else b"\0")

    def _failed(self, what: str, why: str, code: Code = Code.SEAL_BROKEN) -> SealBroken:
        self._broken = f"{what}: {why}"
        return SealBroken(what, why=why, notice=Notice(code))


class CargoSealer(_Chunks):
    """Seals a cargo chunk by chunk, in order, each once. Not for several threads at a time."""

    def seal_chunk_into(self, index: int, plain: memoryview, out: memoryview) -> int:
        """Seal chunk ``index`` (exactly its size) into the start of ``out``; returns bytes written.

        The buffers are C-contiguous bytes and do not overlap; ``out`` has 16 bytes more.
        """
        size = self._check(index)
        if plain.nbytes != size:
            raise self._failed(
                "a cargo chunk has the wrong size", f"{plain.nbytes} bytes instead of {size}"
            )
        if out.nbytes < size + TAG_BYTES:
            raise self._failed("the buffer for a sealed chunk is too small", f"{out.nbytes} bytes")
        self._next += 1  # first: whatever happens, this nonce is spent
        try:
            return self._aead.encrypt_into(
                self._nonce(index), plain, self._bound, out[: size + TAG_BYTES]
            )
        except (TypeError, ValueError, BufferError) as error:
            raise self._failed("a cargo chunk cannot be sealed", str(error)) from error

    def seal_chunk(self, index: int, plain: memoryview | bytes) -> bytes:
        """The sealed chunk as new bytes, where a copy does not matter."""
        out = bytearray(len(plain) + TAG_BYTES)
        self.seal_chunk_into(index, memoryview(plain), memoryview(out))
        return bytes(out)


class CargoOpener(_Chunks):
    """Opens a cargo chunk by chunk; the first bad chunk ends it. Call ``finish`` at the end.

    What was opened is authentic, but it is the whole cargo only once ``finish`` returns.
    """

    def open_chunk_into(self, index: int, sealed: memoryview, out: memoryview) -> int:
        """Open chunk ``index`` into the start of ``out``; returns bytes written.

        On failure ``out`` holds nothing of the chunk. The buffers do not overlap.
        """
        written = self._open(index, self._check(index), sealed, out)
        self._next += 1
        return written

    def open_chunk(self, index: int, sealed: memoryview | bytes) -> bytes:
        """The opened chunk as new bytes, where a copy does not matter."""
        out = bytearray(max(0, len(sealed) - TAG_BYTES))
        self.open_chunk_into(index, memoryview(sealed), memoryview(out))
        return bytes(out)


class CargoReader(_Chunks):
    """Opens chunks of a cargo that is kept sealed, in any order and as often as needed.

    That a cargo is whole, and that its sender meant it, must have been established when it came,
    by a :class:`CargoOpener`: a chunk opens here only as what passed there.
    """

    def open_chunk_into(self, index: int, sealed: memoryview, out: memoryview) -> int:
        """As :meth:`CargoOpener.open_chunk_into`, for any chunk."""
        return self._open(index, self.key.plain_size(index), sealed, out)
