"""Cargo that stays sealed after it came, in a file, until somebody reads a part of it.

What an enclave holds of many sites at once would not fit into its memory. The disk is not trusted:
every chunk is authenticated again whenever it is read.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from fedgate.errors import InvalidModel, SealBroken, Unavailable
from fedgate.model import MAX_HEADER
from fedgate_gateway.sealed import CargoKey, CargoReader

_TAG = 16


class KeptCargo:
    """The file has no name and goes with its descriptor. Reading is thread-safe."""

    def __init__(self, key: CargoKey, job: str, folder: Path, *, model: bool = True) -> None:
        """Without ``model`` it is anything else, and has no header.

        Raises :class:`Unavailable` where no such file can be made.
        """
        self._fd = -1
        self.key = key
        self._reader = CargoReader(key, job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600)
        except OSError as error:
            raise _no_room(error) from error
        self._header = bytearray()
        self._wanted = 8 if model else 0
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Of the plaintext."""
        return self.key.size

    @property
    def header(self) -> memoryview:
        """The model's header, length field included; only once every chunk has come."""
        return memoryview(self._header)

    def add(self, index: int, sealed: memoryview, plain: memoryview) -> None:
        """The next chunk as it came, and what it says, of which only a model's header is kept.

        Raises :class:`Unavailable` when the disk does not take it.
        """
        try:
            written = os.pwrite(self._fd, sealed, index * (self.key.chunk + _TAG))
        except OSError as error:
            raise _no_room(error) from error
        if written != len(sealed):
            raise _no_room("the disk took a part of it")
        if len(self._header) >= self._wanted:
            return
        self._header += plain
        if self._wanted == 8 and len(self._header) >= 8:
            length = int.from_bytes(self._header[:8], "little")
            if length > MAX_HEADER:
                raise InvalidModel("not a model", why=f"header of {length} bytes does not fit")
            self._wanted = 8 + length
        if len(self._header) >= self._wanted:
            del self._header[self._wanted :]

    def read_into(self, begin: int, end: int, out: memoryview) -> None:
        """Open the bytes from ``begin`` to ``end`` into ``out``; raises :class:`SealBroken`."""
        if not 0 <= begin <= end <= self.size or len(out) < end - begin:
            raise SealBroken("a part of a cargo is out of bounds", why=f"{begin} to {end}")
        chunk = self.key.chunk
        if begin == end:
            return
        edge = memoryview(bytearray(chunk))  # for a chunk of which only a part is asked
        with self._lock:
            for index in range(begin // chunk, -(-end // chunk)):
                start = index * chunk
                size = self.key.plain_size(index)
                sealed = os.pread(self._fd, size + _TAG, index * (chunk + _TAG))
                low, high = max(begin, start), min(end, start + size)
                target = out[low - begin : high - begin]
                if high - low == size:
                    self._reader.open_chunk_into(index, memoryview(sealed), target)
                else:
                    self._reader.open_chunk_into(index, memoryview(sealed), edge)
                    target[:] = edge[low - start : high - start]

    def close(self) -> None:
        """Idempotent. Waits for a read: its descriptor's number must not name another file."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _no_room(why: object) -> Unavailable:
    return Unavailable(
        "the enclave cannot keep a result on its disk",
        why=str(why),
        remedy="give its data folder room, or raise keep_sealed_bytes",
    )
