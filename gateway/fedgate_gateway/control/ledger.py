"""Writing down what happens, off the event loop, in order, many at a time.

A durable commit takes milliseconds; a small round takes about as long in all. So progress events
and audit entries are queued, and a writer thread commits whatever has gathered in one go. State
transitions pass through the same queue, which keeps everything in the order in which it happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from fedgate.errors import FedgateError
from fedgate_gateway.audit import Entry
from fedgate_gateway.control.state import GatewayState

log = logging.getLogger(__name__)
T = TypeVar("T")
_MOST = 512


@dataclass
class _Note:
    """An event (``audit`` False) or an audit entry."""

    job: str
    kind: str
    data: Mapping[str, Any]
    actor: str = ""
    audit: bool = False


@dataclass
class _Work:
    call: Callable[[], Any]
    done: asyncio.Future[Any] | None = field(default=None)


class Ledger:
    """Call from the event loop only. ``run`` writes until it is cancelled, then drains."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self._queue: asyncio.Queue[_Note | _Work] = asyncio.Queue()

    def event(self, job: str, kind: str, data: Mapping[str, Any]) -> None:
        self._queue.put_nowait(_Note(job, kind, data))

    def audit(self, kind: str, data: Mapping[str, Any], *, job: str, actor: str) -> None:
        self._queue.put_nowait(_Note(job, kind, data, actor, audit=True))

    async def do(self, call: Callable[[], T]) -> T:
        """Run ``call`` on the writer thread after everything queued before it."""
        work = _Work(call, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(work)
        assert work.done is not None
        result: T = await work.done
        return result

    async def run(self) -> None:
        try:
            while True:
                await self._write([await self._queue.get()])
        finally:
            if not self._queue.empty():
                await asyncio.shield(self._write([]))

    async def _write(self, items: list[_Note | _Work]) -> None:
        while not self._queue.empty() and len(items) < _MOST:
            items.append(self._queue.get_nowait())
        results = await asyncio.to_thread(self._commit, items)
        for work, result in results:
            if work.done is not None and not work.done.done():
                if isinstance(result, Exception):
                    work.done.set_exception(result)
                else:
                    work.done.set_result(result)

    def _commit(self, items: list[_Note | _Work]) -> list[tuple[_Work, Any]]:
        """On the writer thread: neighbours of one sort become one transaction."""
        results: list[tuple[_Work, Any]] = []
        batch: list[_Note] = []
        for item in items:
            if isinstance(item, _Note):
                batch.append(item)
                continue
            self._commit_notes(batch)
            batch = []
            try:
                results.append((item, item.call()))
            except Exception as error:
                results.append((item, error))
        self._commit_notes(batch)
        return results

    def _commit_notes(self, batch: list[_Note]) -> None:
        by_job: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for note in batch:
            if not note.audit:
                by_job.setdefault(note.job, []).append((note.kind, note.data))
        for job, events in by_job.items():
            self._try(lambda job=job, events=events: self._state.jobs.record_all(job, events))  # type: ignore[misc]
        entries: list[Entry] = []
        for note in batch:
            if note.audit:
                self._try(lambda n=note: entries.append(_entry(n)))  # type: ignore[misc]
        if entries:
            self._try(lambda: self._state.audit.append_all(entries))

    def _try(self, write: Callable[[], Any]) -> None:
        try:
            write()
        except FedgateError as error:
            log.warning("could not write down an event: %s", error)


def _entry(note: _Note) -> Entry:
    entry = Entry(datetime.now(UTC), note.kind, note.actor, dict(note.data), note.job)
    entry.encode()  # refuse what cannot be written before it could spoil its neighbours
    return entry
