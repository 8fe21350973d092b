"""Cargo on its way: written to a spool file as it arrives, read by each receiver at its own pace.

Upload and downloads overlap: a reader follows the writer. The newest frames are also kept in
memory, so a reader that keeps up never touches the disk. A slow or broken receiver costs the
others nothing and can continue where it was: cargo stays until every receiver has acknowledged that
it has all of it, or its job ends. Spool files are recycled, because fresh pages cost
more than the copy does.

Room is charged for what has arrived, never for what was announced, to the job, its project and the
site that sends. An upload for which there is no room waits; nobody who has less than an equal part
of the whole is kept waiting by those who have more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from fedgate.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidMessage,
    LimitReached,
    NotFound,
    Unavailable,
)
from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.shares import ALL, Budget, Hold, Share

#: Newest frames kept in memory: of one cargo, and of all cargo together.
_WINDOW_BYTES, _WINDOWS_BYTES = 2 * 1024 * 1024, 16 * 1024 * 1024
_IDLE_FILES = 4
_IDLE_FILE_BYTES = 512 * 1024 * 1024
#: Cargo that one peer may have on its way; each costs a descriptor.
_MOST_OF_A_SENDER = 256
#: Pieces of a cargo: some, and one for so many bytes. Each costs memory.
_SOME_FRAMES, _FRAME_BYTES = 16, 32 * 1024
#: Cargo that nobody touched for so many seconds goes when its room is needed.
_STALE_SECONDS = 300.0
#: Seconds that a reader waits for a cargo to be announced: its letter may come before it does.
_ANNOUNCED_SECONDS = 5.0
#: Seconds that an upload waits for room, and how often it looks whether somebody has rested.
_PATIENCE, _LOOK_SECONDS = 30.0, 1.0
#: Cargo of a job with more than its part that nobody touched for so many seconds makes room for one
#: with less.
_REST_SECONDS = 5.0


@dataclass(eq=False)
class Cargo:
    """One blob of ciphertext. ``frames`` are serialised chunks exactly as they came."""

    job: str
    id: bytes
    size: int
    receivers: frozenset[str]
    sender: str
    held: Hold
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


def spool_budget(limits: GatewayLimits) -> Budget:
    """An enclave sends for many jobs: it has no share of its own, its jobs have."""
    return Budget(
        "bytes of models on their way",
        {
            "site": Share(limits.spool_site_bytes, "spool_site_bytes"),
            "job": Share(limits.spool_job_bytes, "spool_job_bytes"),
            "project": Share(limits.spool_project_bytes, "spool_project_bytes"),
            ALL: Share(limits.spool_bytes, "spool_bytes"),
        },
    )


class CargoSpool:
    """All cargo of a gateway, bounded in each and in sum."""

    def __init__(self, folder: Path, *, cargo_bytes: int, budget: Budget) -> None:
        """``cargo_bytes`` bounds one cargo, ``budget`` what has arrived of all of them."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in folder.iterdir():
            stale.unlink()
        self._folder = folder
        self._cargo_bytes = cargo_bytes
        self._budget = budget
        self._cargo: dict[tuple[str, bytes], Cargo] = {}
        self._idle: list[tuple[int, int]] = []  # (fd, capacity)
        self._appeared = asyncio.Event()
        self._freed = asyncio.Event()

    def begin(
        self,
        job: str,
        id: bytes,
        size: int,
        receivers: frozenset[str],
        sender: str,
        **holders: str,
    ) -> Cargo:
        """Announce, in the name of the job and of further holders of the budget.

        Raises for a second cargo of the same id and beyond the bounds.
        """
        if (job, id) in self._cargo:
            raise Conflict("a cargo of this id is here already")
        if len(id) != 16 or not receivers or size < 0:
            raise InvalidMessage("a cargo needs an id of 16 bytes, a size and receivers")
        if sum(c.sender == sender for c in self._cargo.values()) >= _MOST_OF_A_SENDER:
            raise Unavailable(
                "too many models of one sender are on their way", why=f"{_MOST_OF_A_SENDER}"
            )
        if size > self._cargo_bytes:
            raise InvalidMessage(
                "a model is larger than this gateway relays",
                why=f"{size} bytes; one may have {self._cargo_bytes}",
                remedy="raise limits.cargo_bytes at the gateway",
            )
        held = self._budget.hold(0, job=job, **holders)
        cargo = Cargo(job, id, size, receivers, sender, held, fd=self._file())
        self._cargo[(job, id)] = cargo
        appeared, self._appeared = self._appeared, asyncio.Event()
        appeared.set()
        return cargo

    async def write(self, cargo: Cargo, frame: bytes, payload: int) -> None:
        """:meth:`append` as soon as there is room; raises :class:`LimitReached` if none comes."""
        until = time.monotonic() + _PATIENCE
        while not cargo.failed:
            try:
                self.append(cargo, frame, payload)
                return
            except LimitReached as error:
                late = time.monotonic() >= until
                if self._make_room(cargo, error.limit, 0.0 if late else _REST_SECONDS):
                    continue
                if late:
                    self.fail(cargo, str(error))
                    raise
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _LOOK_SECONDS)
        raise Unavailable("this cargo was given up", why=cargo.failed)

    def _make_room(self, wanting: Cargo, full: str, rest: float) -> bool:
        """Give up what its receivers have given up, or what has more than its part; one at a time.

        Only among those who share in what is full: the job, the site, the project, or all.
        """
        now = time.monotonic()
        whose = wanting.held.holders[full]
        sharing = [c for c in self._cargo.values() if c.held.holders.get(full) == whose]
        rivals = sorted((c for c in sharing if c.held.amount), key=lambda c: c.touched)
        if rivals and rivals[0].touched < now - _STALE_SECONDS and rivals[0] is not wanting:
            self.fail(rivals[0], "nobody fetched it, and its room was needed")
            return True
        jobs: Counter[str] = Counter()
        for cargo in sharing:
            jobs[cargo.job] += cargo.held.amount
        part = self._budget.shares[full].limit // len(jobs)
        largest = max(jobs, key=lambda job: jobs[job])
        if not jobs[largest] > part > jobs[wanting.job]:
            return False
        found = next(c for c in rivals if c.job == largest)
        if found.touched > now - rest:
            return False
        self.fail(found, "its job had more than its part of the room that others needed")
        return True

    def _file(self) -> int:
        if self._idle:
            return self._idle.pop()[0]
        return os.open(self._folder, os.O_RDWR | os.O_TMPFILE, 0o600)

    def append(self, cargo: Cargo, frame: bytes, payload: int) -> None:
        """One frame that carries ``payload`` bytes of ciphertext.

        Raises :class:`LimitReached` where there is no room for it now; nothing has changed then.
        """
        if cargo.failed:
            raise Unavailable("this cargo was given up", why=cargo.failed)
        if cargo.received + payload > cargo.size:
            self.fail(cargo, "it is larger than announced")
            raise InvalidMessage("a cargo is larger than announced")
        if cargo.frames >= _SOME_FRAMES + cargo.size // _FRAME_BYTES:
            self.fail(cargo, "it came in too small pieces")
            raise InvalidMessage("a cargo comes in too small pieces", why=f"{cargo.frames} of them")
        cargo.held.take(payload)
        cargo.received += payload
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
        """Frames from ``first`` on as they arrive.

        Waits up to ``patience`` seconds for each next frame, and a few for a cargo that was not
        announced yet. Raises :class:`NotFound` for cargo that is not for this receiver.
        """
        cargo = await self._find(job, id, 0.0 if first else min(patience, _ANNOUNCED_SECONDS))
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
                raise NotFound("all receivers of this cargo have acknowledged it")
            if cargo.done:
                break
            try:
                await asyncio.wait_for(cargo.grown.wait(), patience)
            except TimeoutError:
                raise DeadlineExceeded("the sender of this cargo has stopped") from None

    def taken(self, job: str, id: bytes, receiver: str) -> None:
        """A receiver needs it no more; it goes once that is so for all of them."""
        cargo = self._cargo.get((job, id))
        if cargo is None or receiver not in cargo.receivers:
            return
        cargo.taken.add(receiver)
        if cargo.taken >= cargo.receivers:
            if cargo.done:
                self._remove(cargo)
            else:
                self.fail(cargo, "its receivers need it no more")

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
        cargo.held.give_back()
        freed, self._freed = self._freed, asyncio.Event()
        freed.set()
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
