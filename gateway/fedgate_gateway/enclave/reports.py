"""What an enclave tells the gateway of a job: progress for people, facts for the audit log.

Counts, sizes, names from configuration, and :class:`~fedgate.notice.Notice`; never a text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedgate.codes import Code
from fedgate.errors import InvalidMessage
from fedgate.notice import Notice
from fedgate.task import Round
from fedgate_gateway.enclave import round_record
from fedgate_gateway.enclave.job_metrics import JobMetrics
from fedgate_gateway.enclave.round_tracker import Unrecorded
from fedgate_gateway.link.report import Entry, Event
from fedgate_gateway.pki import PeerKind
from fedgate_proto.v1 import link_pb2 as pb

_LOG_EVERY = 0.2
_LOG_BATCH = 16 * 1024


class Reports:
    """Of one job. Log lines are included only where the release rules say "clear"."""

    def __init__(
        self,
        job: str,
        sites: Sequence[str],
        send: Callable[[pb.PeerMessage], None],
        *,
        metrics: JobMetrics,
        logs: bool,
        log_bytes: int,
        on_unwritable: Callable[[InvalidMessage], None],
    ) -> None:
        """``on_unwritable`` hears of what the log does not take: the job must not go on."""
        self._job = job
        self._sites = sites
        self._send = send
        self._metrics = metrics
        self._logs = logs
        self._log_left = log_bytes
        self._on_unwritable = on_unwritable
        self._pending = b""
        self._timer: asyncio.TimerHandle | None = None

    # -- the audit log -------------------------------------------------------------------------

    def session_opened(self, site: str, *, transcript: bytes, evidence: str) -> None:
        told = {"site": site, "transcript": transcript.hex(), "evidence": evidence}
        self._audit("session.opened", **told)

    def session(self, kind: str, site: str, notice: Notice) -> None:
        """``session.ended``, ``session.refused``, ``site.left`` or ``site.lost``."""
        self._audit(kind, notice, site=site)

    def released(self, **told: Any) -> None:
        """Raises :class:`InvalidMessage`: what is not written down must not count as released."""
        self._write("released", None, told)

    def site_files_released(self, site: str, size: int, *, whole: bool, recipient: str) -> None:
        """One site's own files went out; ``whole``: all that its worker left."""
        self._audit("site-files.released", site=site, bytes=size, recipient=recipient)
        some = None if whole else Notice(Code.FILES_LEFT_OUT)
        self.site_state(site, "files-released", some)

    def site_files_lost(self, site: str, notice: Notice) -> None:
        self._audit("site-files.lost", notice, site=site)
        self.site_state(site, "files-lost", notice)

    def frames(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self._audit("frames.passed", **row)

    def round(self, finished: Round) -> None:
        enough, few = self._metrics.of_enough(finished.metrics, finished.metric_sites)
        self._metrics.keep(finished.number, str(finished.kind), enough)
        metrics, left_out = self._metrics.clear(enough)
        told = replace(finished, metrics_left_out=finished.metrics_left_out + few + left_out)
        self._event("round", **round_record.event(told, metrics))
        for entry in round_record.entries(told, metrics):
            self._audit(round_record.kind_of(told), **entry)

    def unrecorded(self, found: Unrecorded) -> None:
        """At the end of the job: late answers and tasks that went nowhere."""
        for kind, entry in round_record.unrecorded(found):
            self._audit(kind, **entry)

    def _audit(self, kind: str, notice: Notice | None = None, /, **told: Any) -> None:
        try:
            self._write(kind, notice, told)
        except InvalidMessage as error:
            self._on_unwritable(error)

    def _write(self, kind: str, notice: Notice | None, told: Mapping[str, Any]) -> None:
        entry = Entry(PeerKind.ENCLAVE, kind, self._sites, notice, **told)
        entry.tell_operator(self._job)
        report = pb.AuditReport(job=self._job, kind=entry.name, data=entry.text)
        self._send(pb.PeerMessage(audit=report))

    # -- those who watch -----------------------------------------------------------------------

    def site_state(self, site: str, state: str, notice: Notice | None = None) -> None:
        self._event("site-state", notice, site=site, state=state)

    def _event(self, kind: str, notice: Notice | None = None, /, **told: Any) -> None:
        try:
            event = Event(kind, self._sites, notice, **told)
        except InvalidMessage as error:
            self._on_unwritable(error)
            return
        self._send(pb.PeerMessage(report=pb.JobReport(job=self._job, event=event.text)))

    def metrics(
        self, number: int, metrics: Mapping[str, float], *, sites: int | None = None
    ) -> None:
        """What the coordinator published; ``sites``: fewest behind anything that it can know,
        None where no site has answered yet.
        """
        enough, few = dict(metrics), 0
        if sites is not None:
            enough, few = self._metrics.of_enough(metrics, dict.fromkeys(metrics, sites))
        self._metrics.keep(number, "published", enough)
        told, left_out = self._metrics.clear(enough)
        if told:
            self._event("metrics", round=number, metrics=told, metrics_left_out=few + left_out)

    def log(self, data: bytes) -> None:
        """Coordinator output; whole lines go out, a few times a second."""
        if not self._logs or self._log_left <= 0:
            return
        data = data[: self._log_left]
        self._log_left -= len(data)
        self._pending += data
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOG_EVERY, self.flush)

    def flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text, self._pending = self._pending, b""
        for start in range(0, len(text), _LOG_BATCH):
            piece = text[start : start + _LOG_BATCH].decode("utf-8", "replace")
            self._event("log", text=piece)
