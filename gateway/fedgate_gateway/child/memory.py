"""Shared memory for tensors: pooled memfds on the writing side, private mappings on the reading.

Fresh pages cost far more than copying does, so a writer keeps its memfds and reuses them once the
reader has let go (measured: 60-85 ms for 100 MB into a fresh memfd, 9 ms into a reused one).
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fedgate.errors import InvalidMessage, Unavailable

#: Nobody but the holder of today's mappings may write (Linux 5.1); Python names it from 3.13 on.
_F_SEAL_FUTURE_WRITE = 0x0010
#: Mappings of a child's memory that are kept at most, in number and in multiples of its limit.
_MOST_MAPPINGS, _MAPPED_LIMITS = 256, 2
_ROUND = 1 << 21
#: Idle memory a pool keeps; beyond it, buffers are given back to the system.
_KEEP = 2 << 30


@dataclass(eq=False)
class Buffer:
    """A memfd owned by a pool."""

    number: int
    fd: int
    capacity: int
    mapping: mmap.mmap | None
    size: int = 0

    @property
    def view(self) -> memoryview:
        """The memory itself, shared with the reader; only where the pool maps its buffers."""
        assert self.mapping is not None
        return memoryview(self.mapping)[: self.size]

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Copy ``pieces`` one after the other; they must fit exactly."""
        position = 0
        for piece in pieces:
            left = memoryview(piece).cast("B")
            end = position + len(left)
            if end > self.size:
                raise InvalidMessage("model pieces exceed the announced size")
            if self.mapping is not None:
                memoryview(self.mapping)[position:end] = left
            else:
                while left:
                    left = left[os.pwrite(self.fd, left, end - len(left)) :]
            position = end
        if position != self.size:
            raise InvalidMessage("model pieces do not add up to the announced size")


@dataclass
class Pool:
    """Reusable buffers. Thread-safe.

    ``mapped``: the owner opens ciphertext right into its buffers, and the reader, who is not
    trusted, can never write to them. Otherwise the owner only ever copies into its buffers, through
    the descriptor: that takes no mapping, whose pages would cost faults and count as its memory.
    """

    name: str = "fedgate"
    mapped: bool = True
    _free: list[Buffer] = field(default_factory=list)
    _lent: dict[int, Buffer] = field(default_factory=dict)
    _next: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int) -> Buffer:
        """A buffer of at least ``size`` bytes: the smallest idle one that fits, or a new one.

        Raises :class:`Unavailable` when the system has no memory for it.
        """
        with self._lock:
            fitting = [b for b in self._free if b.capacity >= size]
            if fitting:
                buffer = min(fitting, key=lambda b: b.capacity)
                self._free.remove(buffer)
            else:
                buffer = self._make(size)
            buffer.size = size
            self._lent[buffer.number] = buffer
            return buffer

    def give_back(self, number: int) -> None:
        """Idempotent: a number that is not lent is ignored."""
        with self._lock:
            buffer = self._lent.pop(number, None)
            if buffer is None:
                return
            if sum(b.capacity for b in self._free) + buffer.capacity > _KEEP:
                _close(buffer)
            else:
                self._free.append(buffer)

    def _make(self, size: int) -> Buffer:
        capacity = max(_ROUND, (size + _ROUND - 1) // _ROUND * _ROUND)
        fd = os.memfd_create(self.name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, capacity)
            mapping = mmap.mmap(fd, capacity) if self.mapped else None
            # Without this seal a reader's mapping could be cut off under it (SIGBUS).
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            if self.mapped:
                with contextlib.suppress(OSError):  # an older kernel; then the reader is trusted
                    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE)
        except OSError as error:
            os.close(fd)
            raise Unavailable(
                "there is no memory for a model", why=f"{size} bytes: {error}"
            ) from error
        number, self._next = self._next, self._next + 1
        return Buffer(number, fd, capacity, mapping)

    @property
    def lent(self) -> int:
        return len(self._lent)

    def close(self) -> None:
        with self._lock:
            for buffer in (*self._free, *self._lent.values()):
                _close(buffer)
            self._free.clear()
            self._lent.clear()


def _close(buffer: Buffer) -> None:
    os.close(buffer.fd)
    if buffer.mapping is not None:
        with contextlib.suppress(BufferError):  # a view is still alive; the mapping goes with it
            buffer.mapping.close()


class _Mapping(mmap.mmap):
    """A mapping that can be watched for its end (plain mmap objects cannot)."""


def map_private(fd: int, size: int, on_free: Callable[[], None]) -> memoryview:
    """A writable copy-on-write view of a received memfd; takes ownership of ``fd``.

    ``on_free`` runs once no array views the memory any more.
    """
    try:
        mapping = _Mapping(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(fd)
    finalizer = weakref.finalize(mapping, on_free)
    finalizer.atexit = False
    return memoryview(mapping)


class SharedViews:
    """Read-only mappings of memfds that a child sends; each memfd is mapped once and kept.

    A child reuses its buffers, so this sees the same few inodes again and again. One that never
    does loses its oldest mappings here: a mapping keeps the child's memory alive.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._maps: dict[int, mmap.mmap] = {}

    def view(self, fd: int, size: int) -> memoryview:
        """Map ``fd`` (ownership taken); refuses buffers that could shrink or are too short."""
        try:
            stat = os.fstat(fd)
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
            if not seals & fcntl.F_SEAL_SHRINK:
                raise InvalidMessage("a child sent memory that is not sealed against shrinking")
            if not 0 < size <= min(stat.st_size, self._limit):
                raise InvalidMessage(
                    "a child sent a buffer of a wrong size",
                    why=f"{size} bytes; {stat.st_size} exist, {self._limit} are allowed",
                )
            mapping = self._maps.get(stat.st_ino)
            if mapping is None or len(mapping) < size:
                mapping = mmap.mmap(fd, stat.st_size, prot=mmap.PROT_READ)
                self._keep(stat.st_ino, mapping)
        except OSError as error:
            raise InvalidMessage("a child sent an unusable buffer", why=str(error)) from error
        finally:
            os.close(fd)
        return memoryview(mapping)[:size]

    def _keep(self, inode: int, mapping: mmap.mmap) -> None:
        self._maps.pop(inode, None)
        self._maps[inode] = mapping
        room = max(self._limit, _KEEP) * _MAPPED_LIMITS
        while len(self._maps) > 1 and (
            len(self._maps) > _MOST_MAPPINGS or sum(map(len, self._maps.values())) > room
        ):
            del self._maps[next(iter(self._maps))]  # views of it that are in use keep it
