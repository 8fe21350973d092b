"""The one function that changes a job's state: row, event and audit entry, or none of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy.orm import Session

from fedgate.codes import Code
from fedgate.job import JobEvent, JobState, next_state
from fedgate_gateway.control.absent import give_up_on_pending
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.records import SITE_EVENT, STATE_EVENT
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import JobEventRow, JobRow

MAX_REASON = 2000


def advance(
    session: Session,
    audit: AuditSink,
    row: JobRow,
    event: JobEvent,
    *,
    reason: str,
    data: Mapping[str, Any],
    actor: str,
    absent: Mapping[str, Code] = MappingProxyType({}),
) -> None:
    """Let ``event`` happen to the job of ``row`` in the caller's transaction.

    Sites that have not decided by then are given up on; ``absent`` says why, where that is known.

    Raises :class:`~fedgate.errors.InvalidTransition` where the state machine has no row.
    """
    before = JobState(row.state)
    after = next_state(before, event)
    row.state, row.reason = after.value, reason[:MAX_REASON]
    if event is JobEvent.ACCEPT or after.final:
        code = Code.NOT_DECIDED if after.final else Code.NO_ANSWER
        for missing in give_up_on_pending(session, audit, row.id, absent, code):
            add_event(session, row.id, SITE_EVENT, missing)
    if event is JobEvent.START:
        row.started = utc_now()
    if after.final:
        row.ended = utc_now()
    told = {
        **data,
        "event": event.value,
        "from": before.value,
        "state": after.value,
        "reason": row.reason,
    }
    if row.enclave:
        told["enclave"] = row.enclave
    add_event(session, row.id, STATE_EVENT, told)
    audit.append("job.transition", told, job=row.id, actor=actor, session=session)


def add_event(session: Session, job: str, kind: str, data: Mapping[str, Any]) -> JobEventRow:
    """Insert an event in the caller's transaction; its id is set at once."""
    row = JobEventRow(job=job, at=utc_now(), kind=kind, data=dict(data))
    session.add(row)
    session.flush()
    return row
