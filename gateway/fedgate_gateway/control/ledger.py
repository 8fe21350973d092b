"""Writing down what happens, off the event loop, in order, many at a time.

A durable commit takes milliseconds; a small round takes about as long in all. So what peers report
is queued, and a writer thread commits whatever has gathered in one go. State transitions pass
through the same queue, which keeps everything in the order in which it happened. While the database
is away, all of it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fedgate.errors import FedgateError
from fedgate_gateway.control.filing import Filing, Report
from fedgate_gateway.store.database import DatabaseAway

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Items of one commit, and items that wait for theirs before whoever brings one waits as well.
_MOST, _MOST_WAITING = 512, 4096
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 2.0
#: Seconds for what is still waiting when the gateway stops.
_FAREWELL_SECONDS = 5.0
#: Reports that are done with: they are written down, were there before, or cannot ever be.
Taken = Callable[[Sequence[Report]], None]


@dataclass
class _Work:
    call: Callable[[], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def run(self) -> None:
        """Raises :class:`DatabaseAway` alone."""
        try:
            self.result = self.call()
        except DatabaseAway:
            raise
        except Exception as error:
            self.error = error

    def tell(self) -> None:
        if self.done.done():
            return
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class Ledger:
    """Call from the event loop only. ``run`` writes until it is cancelled, then drains."""

    def __init__(self, filing: Filing, *, pause: float = _FIRST_PAUSE) -> None:
        """``pause``: seconds before the first of many attempts on a database that is away."""
        self._filing = filing
        self._pause = pause
        self._queue: asyncio.Queue[Report | _Work] = asyncio.Queue(_MOST_WAITING)
        self._taken: Taken = lambda _: None
        #: What is being written, or waits for the database; those in front of the queue.
        self._batch: list[Report | _Work] = []

    def on_taken(self, taken: Taken) -> None:
        """``taken`` hears of every report, ``refused`` where it is not written."""
        self._taken = taken

    async def file(self, report: Report) -> None:
        """Have a report written after everything that came before; returns before it is."""
        await self._queue.put(report)

    async def do(self, call: Callable[[], T]) -> T:
        """Run ``call`` on the writer thread after everything queued before it.

        It is run again for as long as it finds the database away.
        """
        work = _Work(call, asyncio.get_running_loop().create_future())
        await self._queue.put(work)
        result: T = await work.done
        return result

    async def run(self) -> None:
        try:
            while True:
                self._batch.append(await self._queue.get())
                await self._write()
        finally:
            await asyncio.shield(self._drain())

    async def _drain(self) -> None:
        """What is not written in time is not lost: peers send it again, and others ask again."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._write()
        except TimeoutError:
            log.warning("%d things are left unwritten, for the next start", len(self._batch))
            for item in self._batch:
                if isinstance(item, _Work):
                    item.error = DatabaseAway("the gateway stops, and its database is away")
                    item.tell()

    async def _write(self) -> None:
        """Until nothing waits."""
        pause = self._pause
        while self._gather():
            await self._try()
            if self._batch:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE)
            else:
                pause = self._pause

    async def _try(self) -> None:
        committing = asyncio.create_task(asyncio.to_thread(self._commit, self._batch))
        try:
            await asyncio.shield(committing)
        finally:  # whoever cancels this waits: it cannot be stopped half-way
            done = await committing
            self._batch = self._batch[len(done) :]
            self._tell(done)

    def _gather(self) -> bool:
        while not self._queue.empty() and len(self._batch) < _MOST:
            self._batch.append(self._queue.get_nowait())
        return bool(self._batch)

    def _tell(self, done: Sequence[Report | _Work]) -> None:
        reports = [item for item in done if isinstance(item, Report)]
        if reports:
            self._taken(reports)
        for item in done:
            if isinstance(item, _Work):
                item.tell()

    def _commit(self, items: Sequence[Report | _Work]) -> list[Report | _Work]:
        """On the writer thread: those at the front that are done, up to where the database went.

        Neighbours of one sort become one transaction.
        """
        done: list[Report | _Work] = []
        try:
            for group in _groups(items):
                if isinstance(group, _Work):
                    group.run()
                    done.append(group)
                    continue
                filed = self._file(group)
                done += filed
                if len(filed) < len(group):
                    break
        except DatabaseAway:  # it says so itself
            pass
        return done

    def _file(self, reports: Sequence[Report]) -> list[Report]:
        """Those at the front that are done with. Raises :class:`DatabaseAway` alone."""
        try:
            self._filing.write(reports)
        except DatabaseAway:
            raise
        except Exception as error:
            return self._file_each(reports, error)
        return list(reports)

    def _file_each(self, reports: Sequence[Report], error: Exception) -> list[Report]:
        """One of them cannot be written; the others must not be lost with it."""
        if len(reports) > 1:
            done: list[Report] = []
            for report in reports:
                try:
                    done += self._file([report])
                except DatabaseAway:
                    break
            return done
        (report,) = reports
        why = error.code if isinstance(error, FedgateError) else type(error).__name__
        log.error("job %s: a report of %s cannot be written: %s", report.job, report.peer, why)
        log.debug("job %s: %s", report.job, error)
        instead = replace(report, entry="", event="", data={}, refused=True)
        try:
            self._filing.write([instead])
        except DatabaseAway:
            raise
        except Exception:
            log.exception("job %s: nor that it cannot", report.job)
        return [instead]


def _groups(items: Sequence[Report | _Work]) -> list[_Work | list[Report]]:
    groups: list[_Work | list[Report]] = []
    for item in items:
        if isinstance(item, _Work):
            groups.append(item)
        elif groups and isinstance(groups[-1], list):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups
