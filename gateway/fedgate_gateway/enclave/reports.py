"""What an enclave tells the gateway of a job: progress for people, facts for the audit log.

Counts, sizes, names from configuration, and :class:`~fedgate.notice.Notice`; never a text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fedgate.notice import Notice
from fedgate.task import Round
from fedgate_gateway.enclave import round_record
from fedgate_gateway.enclave.job_metrics import JobMetrics
from fedgate_gateway.enclave.round_tracker import Unrecorded
from fedgate_proto.v1 import link_pb2 as pb

_LOG_EVERY = 0.2
_LOG_BATCH = 16 * 1024


class Reports:
    """Of one job. Log lines are included only where the release rules say "clear"."""

    def __init__(
        self,
        job: str,
        send: Callable[[pb.PeerMessage], None],
        *,
        metrics: JobMetrics,
        logs: bool,
        log_bytes: int,
    ) -> None:
        self._job = job
        self._send = send
        self._metrics = metrics
        self._logs = logs
        self._log_left = log_bytes
        self._pending = b""
        self._timer: asyncio.TimerHandle | None = None

    def site_state(self, site: str, state: str, notice: Notice | None = None) -> None:
        told = {} if notice is None else {"notice": notice.to_text()}
        self._event("site-state", {"site": site, "state": state, **told})

    def session_opened(self, site: str, *, transcript: bytes, evidence: str) -> None:
        told = {"site": site, "transcript": transcript.hex(), "evidence": evidence}
        self.audit("session.opened", told)

    def session(self, kind: str, site: str, notice: Notice) -> None:
        """``session.ended``, ``session.refused`` or ``site.left``."""
        self.audit(kind, {"site": site, "notice": notice.to_text()})

    def _event(self, kind: str, data: Mapping[str, Any]) -> None:
        text = json.dumps({"kind": kind, **data}, default=str)
        self._send(pb.PeerMessage(report=pb.JobReport(job=self._job, event=text)))

    def audit(self, kind: str, data: Mapping[str, Any]) -> None:
        self._send(
            pb.PeerMessage(audit=pb.AuditReport(job=self._job, kind=kind, data=json.dumps(data)))
        )

    def round(self, finished: Round) -> None:
        self._metrics.keep(finished.number, str(finished.kind), finished.metrics)
        metrics, left_out = self._metrics.clear(finished.metrics)
        told = replace(finished, metrics_left_out=finished.metrics_left_out + left_out)
        self._event("round", round_record.event(told, metrics))
        for entry in round_record.entries(told, metrics):
            self.audit(round_record.kind_of(told), entry)

    def unrecorded(self, found: Unrecorded) -> None:
        """At the end of the job: late answers and tasks that went nowhere."""
        for kind, entry in round_record.unrecorded(found):
            self.audit(kind, entry)

    def metrics(self, number: int, metrics: Mapping[str, float]) -> None:
        """What the coordinator published."""
        self._metrics.keep(number, "published", metrics)
        told, left_out = self._metrics.clear(metrics)
        if told:
            self._event("metrics", {"round": number, "metrics": told, "metrics_left_out": left_out})

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
            self._event("log", {"text": piece})
