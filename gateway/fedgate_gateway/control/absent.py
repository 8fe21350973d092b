"""Sites that a job goes on, or ends, without hearing: no answer is pending for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedgate.codes import Code
from fedgate.notice import Notice
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.records import Decision
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import JobSiteRow


def give_up_on_pending(
    session: Session, audit: AuditSink, job: str, codes: Mapping[str, Code], otherwise: Code
) -> Sequence[Mapping[str, str]]:
    """In the caller's transaction; ``codes`` say why for sites of which it is known, and
    ``otherwise`` for all others.

    Returns what the job's events tell of it.
    """
    mine = select(JobSiteRow).where(
        JobSiteRow.job == job, JobSiteRow.decision == Decision.PENDING.value
    )
    events = []
    for row in session.scalars(mine.order_by(JobSiteRow.position)).all():
        code = codes.get(row.site, otherwise)
        row.decision, row.reason = Decision.ABSENT.value, Notice(code).sentence
        row.decided = utc_now()
        told = {
            "site": row.site, "decision": row.decision, "reason": row.reason, "code": str(code),
        }  # fmt: skip
        audit.append("job.site-decision", told, job=job, actor="gateway", session=session)
        events.append(told)
    return events
