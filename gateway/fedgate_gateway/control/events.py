"""What people watch a job by: events, in order, and waking those who wait for the next one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedgate.errors import InvalidMessage, LimitReached
from fedgate_gateway.control import rows
from fedgate_gateway.control.bell import Bell
from fedgate_gateway.control.records import OUTPUT_EVENT, SITE_EVENT, STATE_EVENT, EventRecord
from fedgate_gateway.control.transitions import add_event
from fedgate_gateway.store import Database
from fedgate_gateway.store.tables import JobEventRow

MAX_EVENT_BYTES = 64 * 1024
#: Written only together with what they tell of.
_RESERVED = frozenset({STATE_EVENT, SITE_EVENT, OUTPUT_EVENT})
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
#: An event that another process wrote rings no bell here; look again after this many seconds.
_LOOK_AGAIN = 5.0


class JobEvents:
    """The events of all jobs."""

    def __init__(self, database: Database, most: int) -> None:
        """State changes always find room; progress and logs beyond ``most`` of a job do not."""
        self._database = database
        self._most = most
        self.bell = Bell()

    def record_all(
        self, job_id: str, events: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> list[EventRecord]:
        with self._database.write() as session:
            rows.job_row(session, job_id)
            if not self.has_room(session, job_id, len(events)):
                raise LimitReached(
                    f"{job_id} has told too much",
                    why=f"at most {self._most} events are kept of one job",
                    remedy="let it tell less, or have limits.events_job raised",
                    limit="job",
                )
            told = self.add(session, job_id, events)
        self.bell.ring(job_id)
        return told

    def has_room(self, session: Session, job_id: str, more: int) -> bool:
        count = select(func.count()).where(JobEventRow.job == job_id)
        return (session.scalar(count) or 0) + more <= self._most

    @staticmethod
    def add(
        session: Session, job_id: str, events: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> list[EventRecord]:
        """In the caller's transaction, who rings the bell after it."""
        for kind, data in events:
            _check(kind, data)
        added = [add_event(session, job_id, kind, data) for kind, data in events]
        return [rows.event_record(row) for row in added]

    def after(
        self, job_id: str, event_id: int, *, kind: str | None = None, limit: int = 1000
    ) -> list[EventRecord]:
        query = select(JobEventRow).where(JobEventRow.job == job_id, JobEventRow.id > event_id)
        if kind is not None:
            query = query.where(JobEventRow.kind == kind)
        with self._database.read() as session:
            found = session.scalars(query.order_by(JobEventRow.id).limit(limit)).all()
            return [rows.event_record(row) for row in found]

    async def wait(self, job_id: str, event_id: int, seconds: float | None) -> list[EventRecord]:
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        # Listen before looking: an event between the two would be missed otherwise.
        with self.bell.listen(job_id) as rung:
            while True:
                rung.clear()
                found = await asyncio.to_thread(self.after, job_id, event_id)
                left = _LOOK_AGAIN if until is None else min(_LOOK_AGAIN, until - loop.time())
                if found or left <= 0:
                    return found
                with suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), left)


def _check(kind: str, data: Mapping[str, Any]) -> None:
    if not _KIND.fullmatch(kind) or kind in _RESERVED:
        raise InvalidMessage(f"{kind!r:.60} is not a kind of event that can be recorded")
    try:
        size = len(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidMessage("an event's data is not JSON", why=str(error)) from error
    if size > MAX_EVENT_BYTES:
        raise InvalidMessage("an event is too large", why=f"{size} bytes of {MAX_EVENT_BYTES}")
