"""Cargo on its way: written to a spool file as it arrives, read by each receiver at its own pace.

Upload and downloads overlap: a reader follows the writer. The newest frames are also kept in
memory, so a reader that keeps up never touches the disk. A slow or broken receiver costs the
others nothing and can continue where it was. Spool files are recycled, because fresh pages cost
more than the copy does.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from fedgate.errors import Conflict, DeadlineExceeded, InvalidMessage, NotFound, Unavailable

#: Newest frames kept in memory: of one cargo, and of all cargo together.
_WINDOW_BYTES, _WINDOWS_BYTES = 2 * 1024 * 1024, 16 * 1024 * 1024
_IDLE_FILES = 4
_IDLE_FILE_BYTES = 512 * 1024 * 1024
#: Cargo that one peer may have on its way; each costs a descriptor.
_MOST_OF_A_SENDER = 256
#: Cargo that nobody touched for so many seconds goes when its room is needed.
_STALE_SECONDS = 300.0


@dataclass(eq=False)
class Cargo:
    """One blob of ciphertext. ``frames`` are serialised chunks exactly as they came."""

    job: str
    id: bytes
    size: int
    receivers: frozenset[str]
    sender: str
    fd: int = -1
    offsets: list[int] = field(default_factory=lambda: [0])
    window: deque[tuple[int, bytes]] = field(default_factory=deque)
    window_bytes: int = 0
    received: int = 0
    done: bool = False
    failed: str = ""
    taken: set[str] = field(default_factory=set)
    touched: float = field(default_factory=time.monotonic)
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def frames(self) -> int:
        return len(self.offsets) - 1

    def wake(self) -> None:
        grown, self.grown = self.grown, asyncio.Event()
        grown.set()


class CargoSpool:
    """All cargo of a gateway, bounded in each and in sum."""

    def __init__(self, folder: Path, *, cargo_bytes: int, total_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in folder.iterdir():
            stale.unlink()
        self._folder = folder
        self._cargo_bytes = cargo_bytes
        self._left = total_bytes
        self._cargo: dict[tuple[str, bytes], Cargo] = {}
        self._idle: list[tuple[int, int]] = []  # (fd, capacity)
        self._appeared = asyncio.Event()

    def begin(
        self, job: str, id: bytes, size: int, receivers: frozenset[str], sender: str
    ) -> Cargo:
        """Announce; raises for a second cargo of the same id and beyond the bounds."""
        if (job, id) in self._cargo:
            raise Conflict("a cargo of this id is here already")
        if len(id) != 16 or not receivers or size < 0:
            raise InvalidMessage("a cargo needs an id of 16 bytes, a size and receivers")
        if sum(c.sender == sender for c in self._cargo.values()) >= _MOST_OF_A_SENDER:
            raise Unavailable(
                "too many models of one sender are on their way", why=f"{_MOST_OF_A_SENDER}"
            )
        self._make_room(size)
        if size > self._cargo_bytes or size > self._left:
            raise Unavailable(
                "the gateway has no room for this model",
                why=f"{size} bytes; one may have {self._cargo_bytes}, {self._left} are free",
                remedy="raise limits.cargo_bytes or limits.spool_bytes at the gateway",
            )
        cargo = Cargo(job, id, size, receivers, sender, fd=self._file())
        self._left -= size
        self._cargo[(job, id)] = cargo
        appeared, self._appeared = self._appeared, asyncio.Event()
        appeared.set()
        return cargo

    def _make_room(self, size: int) -> None:
        """Give up what its receivers seem to have given up."""
        oldest = time.monotonic() - _STALE_SECONDS
        for cargo in sorted(self._cargo.values(), key=lambda c: c.touched):
            if size <= self._left or cargo.touched > oldest:
                return
            self.fail(cargo, "nobody fetched it, and its room was needed")

    def _file(self) -> int:
        if self._idle:
            return self._idle.pop()[0]
        return os.open(self._folder, os.O_RDWR | os.O_TMPFILE, 0o600)

    def append(self, cargo: Cargo, frame: bytes, payload: int) -> None:
        """One frame that carries ``payload`` bytes of ciphertext."""
        if cargo.failed:
            raise Unavailable("this cargo was given up", why=cargo.failed)
        cargo.received += payload
        if cargo.received > cargo.size:
            self.fail(cargo, "it is larger than announced")
            raise InvalidMessage("a cargo is larger than announced")
        start = cargo.offsets[-1]
        os.pwrite(cargo.fd, frame, start)
        cargo.window.append((cargo.frames, frame))
        cargo.window_bytes += len(frame)
        most = min(_WINDOW_BYTES, _WINDOWS_BYTES // len(self._cargo))
        while cargo.window_bytes > most and len(cargo.window) > 1:
            cargo.window_bytes -= len(cargo.window.popleft()[1])
        cargo.offsets.append(start + len(frame))
        cargo.touched = time.monotonic()
        cargo.wake()

    def end(self, cargo: Cargo) -> None:
        if cargo.failed:
            raise Unavailable("this cargo was given up", why=cargo.failed)
        if cargo.received != cargo.size:
            self.fail(cargo, "its upload ended early")
            raise InvalidMessage(
                "a cargo is shorter than announced", why=f"{cargo.received} of {cargo.size} bytes"
            )
        cargo.done = True
        cargo.wake()

    def fail(self, cargo: Cargo, why: str) -> None:
        if not cargo.failed:
            cargo.failed = why
            cargo.wake()
            self._remove(cargo)

    async def read(
        self, job: str, id: bytes, receiver: str, first: int, *, patience: float
    ) -> AsyncIterator[bytes]:
        """Frames from ``first`` on as they arrive; the cargo goes once all receivers had it.

        Waits up to ``patience`` seconds (a quarter of them for a cargo that was not announced yet)
        for each next frame. Raises :class:`NotFound` for cargo that is not for this receiver.
        """
        cargo = await self._find(job, id, patience / 4)
        if receiver not in cargo.receivers:
            raise NotFound("there is no such cargo for this peer")
        position = first
        while True:
            while position < cargo.frames and cargo.fd >= 0:
                cargo.touched = time.monotonic()
                yield self._frame(cargo, position)
                position += 1
            if cargo.failed:
                raise Unavailable("the sender did not finish this cargo", why=cargo.failed)
            if cargo.fd < 0:
                raise NotFound("this cargo was fetched by all its receivers already")
            if cargo.done:
                break
            try:
                await asyncio.wait_for(cargo.grown.wait(), patience)
            except TimeoutError:
                raise DeadlineExceeded("the sender of this cargo has stopped") from None
        cargo.taken.add(receiver)
        if cargo.taken >= cargo.receivers:
            self._remove(cargo)

    async def _find(self, job: str, id: bytes, patience: float) -> Cargo:
        until = time.monotonic() + patience
        while (cargo := self._cargo.get((job, id))) is None:
            try:
                await asyncio.wait_for(self._appeared.wait(), max(0.0, until - time.monotonic()))
            except TimeoutError:
                raise NotFound("there is no such cargo for this peer") from None
        return cargo

    @staticmethod
    def _frame(cargo: Cargo, position: int) -> bytes:
        if cargo.window and position >= cargo.window[0][0]:
            return cargo.window[position - cargo.window[0][0]][1]
        start, end = cargo.offsets[position], cargo.offsets[position + 1]
        return os.pread(cargo.fd, end - start, start)

    def _remove(self, cargo: Cargo) -> None:
        if self._cargo.pop((cargo.job, cargo.id), None) is None:
            return
        self._left += cargo.size
        capacity = cargo.offsets[-1]
        if len(self._idle) < _IDLE_FILES and capacity <= _IDLE_FILE_BYTES:
            self._idle.append((cargo.fd, capacity))
        else:
            os.close(cargo.fd)
        cargo.fd = -1
        cargo.window.clear()

    def forget_job(self, job: str) -> None:
        for cargo in [c for c in self._cargo.values() if c.job == job]:
            self.fail(cargo, "the job is over")

    def close(self) -> None:
        for cargo in list(self._cargo.values()):
            self.fail(cargo, "the gateway is stopping")
        for fd, _ in self._idle:
            os.close(fd)
        self._idle.clear()
