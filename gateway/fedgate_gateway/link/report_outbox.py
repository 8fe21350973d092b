"""Reports that reach the gateway once, in order, whatever breaks in between.

Each is on disk before it is sent, is sent again on every new link until the gateway says that it
has it, and carries a number by which the gateway knows those that it has already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fedgate.codes import Code
from fedgate.errors import FedgateError, LimitReached, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.link.report_file import Report, ReportFile
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: What one job may have waiting here: minutes of quick rounds without a gateway.
JOB_REPORTS: Final = 20_000
JOB_BYTES: Final = 32 << 20
#: Reports of one job, and their bytes, that are under way to the gateway at a time.
WINDOW: Final = 64
WINDOW_BYTES: Final = 512 * 1024
#: Seconds after which those that were taken are forgotten on disk, if nothing else is written.
_TIDY_SECONDS = 1.0
#: Seconds to deliver what is left when the program ends; the rest is delivered by the next one.
_FAREWELL_SECONDS = 2.0


@dataclass
class _Queue:
    """Of one job. The first ``sent`` of those that are ``written`` are under way on this link."""

    held: int = 0  # reports and bytes that are not taken yet, also those not written yet
    held_bytes: int = 0
    written: deque[Report] = field(default_factory=deque)
    sent: int = 0
    sent_bytes: int = 0
    lost: bool = False  # one could not be kept, and the job was told
    then: Callable[[], None] | None = None


class ReportOutbox:
    """Of one program, for all its jobs. Call it from the event loop; :meth:`run` writes and sends.

    ``on_lost`` hears once of a job of which a report cannot be kept.
    """

    def __init__(
        self,
        data: Path,
        send: Callable[[pb.PeerMessage], None],
        on_lost: Callable[[str, FedgateError], None],
    ) -> None:
        """Raises :class:`InvalidConfig` when its file in ``data`` cannot be used."""
        self._file = ReportFile(data)
        self._send = send
        self._on_lost = on_lost
        self._id = os.urandom(16)  # of this run: an older copy of the file repeats no number
        self._last: Counter[str] = Counter()  # the number that was given last, by job
        self._queues: defaultdict[str, _Queue] = defaultdict(_Queue)
        self._unwritten: list[Report] = []
        self._taken: dict[tuple[str, bytes], int] = {}
        self._up = False
        self._closing = False
        self._tidy: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        for report in self._file.left:
            self._hold(report)
            self._queues[report.job].written.append(report)

    def put(self, message: pb.PeerMessage) -> None:
        """Report something of a job: an ``audit`` entry, or a ``report`` with an ``event``."""
        is_entry = message.WhichOneof("body") == "audit"
        body = message.audit if is_entry else message.report
        queue = self._queues[body.job]
        if queue.lost:
            return
        if queue.held >= JOB_REPORTS or queue.held_bytes >= JOB_BYTES:
            why = f"{queue.held} reports wait for the gateway, {queue.held_bytes} bytes"
            self._lose(body.job, LimitReached("the log cannot take an entry", why=why))
        else:
            self._last[body.job] += 1
            body.place.outbox, body.place.number = self._id, self._last[body.job]
            report = Report(body.job, self._id, self._last[body.job], message)
            self._hold(report)
            self._unwritten.append(report)
            self._wake.set()

    def _hold(self, report: Report) -> None:
        queue = self._queues[report.job]
        queue.held += 1
        queue.held_bytes += report.size
        self._empty.clear()

    def _lose(self, job: str, error: FedgateError) -> None:
        log.error("job %s: %s", job, error)
        self._queues[job].lost = True
        notice = Notice(Code.LOG_FAILED)
        self._on_lost(job, Unavailable(error.what, why=error.why, notice=notice))

    def after(self, job: str, then: Callable[[], None]) -> None:
        """Call ``then`` once everything that was reported of the job so far is taken."""
        queue = self._queues.get(job)
        if queue is None or not queue.held:
            then()
        else:
            queue.then = then

    # -- the link --------------------------------------------------------------------------------

    def up(self) -> None:
        """There is a new link: whatever was under way on the last one may be lost."""
        self._up = True
        for queue in self._queues.values():
            queue.sent = queue.sent_bytes = 0
            self._send_more(queue)

    def down(self) -> None:
        self._up = False

    def _send_more(self, queue: _Queue) -> None:
        while self._up and queue.sent < min(WINDOW, len(queue.written)):
            report = queue.written[queue.sent]
            if queue.sent and queue.sent_bytes + report.size > WINDOW_BYTES:
                return
            queue.sent += 1
            queue.sent_bytes += report.size
            self._send(report.message)

    def taken(self, message: pb.ReportsTaken) -> None:
        """The gateway has these, or will never take them."""
        queue = self._queues.get(message.job)
        if queue is None:
            return
        while queue.sent and _is_among(queue.written[0], message):
            report = queue.written.popleft()
            queue.sent -= 1
            queue.sent_bytes -= report.size
            self._let_go(report)
            self._taken[report.job, report.outbox] = report.number
        if self._tidy is None:
            self._tidy = asyncio.get_running_loop().call_later(_TIDY_SECONDS, self._wake.set)
        self._send_more(queue)

    def _let_go(self, report: Report) -> None:
        """It is not waiting any more."""
        queue = self._queues[report.job]
        queue.held -= 1
        queue.held_bytes -= report.size
        if queue.held:
            return
        then, queue.then = queue.then, None
        if not queue.lost:
            del self._queues[report.job]
        if not any(q.held for q in self._queues.values()):
            self._empty.set()
        if then is not None:
            then()

    # -- the disk --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until it is closed; then what is left is written, and sent if there is a link."""
        try:
            while not self._closing or self._unwritten:
                await self._wake.wait()
                self._wake.clear()
                await self._write()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS if self._up else 0):
                    await self._empty.wait()
            await self._write()
        finally:
            self._file.close()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    async def _write(self) -> None:
        reports, self._unwritten = self._unwritten, []
        taken, self._taken = self._taken, {}
        if self._tidy is not None:
            self._tidy.cancel()
            self._tidy = None
        if not reports and not taken:
            return
        try:
            await asyncio.to_thread(self._file.change, reports, taken)
        except sqlite3.Error as error:
            self._not_written(reports, error)
            return
        for report in reports:
            self._queues[report.job].written.append(report)
        for job in dict.fromkeys(report.job for report in reports):
            self._send_more(self._queues[job])

    def _not_written(self, reports: list[Report], error: sqlite3.Error) -> None:
        for report in reports:
            if not self._queues[report.job].lost:
                why = f"reports.sqlite: {error}"
                self._lose(report.job, Unavailable("the log cannot take an entry", why=why))
            self._let_go(report)


def _is_among(report: Report, taken: pb.ReportsTaken) -> bool:
    return report.outbox == taken.outbox and report.number <= taken.number
