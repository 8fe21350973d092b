"""Writing down what peers report: events for people and entries of the log, each exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedgate_gateway.audit import AuditLog, Entry
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.records import FRAME_REFUSED_EVENT, SITE_STATE_EVENT
from fedgate_gateway.store import Database
from fedgate_gateway.store.tables import ReportMarkRow


@dataclass(frozen=True)
class Report:
    """The ``number``-th that ``peer`` (``kind:name``) made of ``job`` from one of its outboxes.

    An entry or an event; neither where it is left out, or ``refused`` because it is not one.
    """

    peer: str
    job: str
    outbox: bytes
    number: int
    entry: str = ""  # its kind
    event: str = ""  # its kind
    data: Mapping[str, Any] = field(default_factory=dict)
    refused: bool = False


class Filing:
    """Blocking; for the thread that writes."""

    def __init__(self, database: Database, jobs: JobService, audit: AuditLog) -> None:
        self._database = database
        self._jobs = jobs
        self._audit = audit

    def write(self, reports: Sequence[Report]) -> None:
        """All of them in one transaction, with the mark that tells which were there already.

        Raises :class:`DatabaseAway`, and whatever is wrong with one of them; then none is written.
        """
        entries: list[Entry] = []
        events: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        with self._database.write() as session:
            for report in reports:
                entries += self._unseen(session, report, events)
            self._jobs.add_events(session, events)
            if entries:
                self._audit.append_all(entries, session=session)
        self._jobs.told(events)

    def _unseen(
        self,
        session: Session,
        report: Report,
        events: dict[str, list[tuple[str, Mapping[str, Any]]]],
    ) -> list[Entry]:
        """The entries that a report makes; its event goes to ``events``."""
        mark = _mark(session, report)
        if report.number <= mark.number:
            return []
        first, mark.number = mark.number + 1, report.number
        entries = []
        if report.number > first:  # our database is older than its outbox
            told = {"first": first, "last": report.number - 1}
            entries.append(_entry(report, "reports.missing", told))
        if report.refused and not mark.refused:
            mark.refused = True  # once says that what this peer tells of the job is not all
            entries.append(_entry(report, "reports.refused", {"number": report.number}))
        if report.entry:
            entries.append(_entry(report, report.entry, report.data))
            if report.entry == "frame.refused":  # the job may hang for it: whoever watches is told
                no = {"site": report.peer.partition(":")[2], "frame": report.data["frame"]}
                events.setdefault(report.job, []).append((FRAME_REFUSED_EVENT, no))
            if report.entry == "site-files.kept":
                kept = {"site": report.peer.partition(":")[2], "state": "files-kept",
                        "code": report.data.get("code", ""),
                        "reason": report.data.get("why", "")}  # fmt: skip
                events.setdefault(report.job, []).append((SITE_STATE_EVENT, kept))
        if report.event:
            events.setdefault(report.job, []).append((report.event, report.data))
        return entries


def _mark(session: Session, report: Report) -> ReportMarkRow:
    key = {"peer": report.peer, "job": report.job, "outbox": report.outbox}
    row = session.scalar(select(ReportMarkRow).filter_by(**key))
    if row is None:
        row = ReportMarkRow(**key, number=0, refused=False)
        session.add(row)
        session.flush()
    return row


def _entry(report: Report, kind: str, data: Mapping[str, Any]) -> Entry:
    return Entry(datetime.now(UTC), kind, report.peer, dict(data), report.job)
