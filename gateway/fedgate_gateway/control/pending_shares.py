"""How many jobs may wait, of one submitter and of one project."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from fedgate.errors import LimitReached
from fedgate.job import JobState
from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.store.tables import JobRow

_WAITING = (JobState.SUBMITTED, JobState.IN_REVIEW, JobState.QUEUED)


def require_room(session: Session, limits: GatewayLimits, project: str, submitter: str) -> None:
    """Raise :class:`LimitReached` where as many jobs wait as may, in whatever project they do."""
    for kind, whose, limit in (
        ("submitter", JobRow.submitter == submitter, limits.pending_jobs_submitter),
        ("project", JobRow.project == project, limits.pending_jobs_project),
    ):
        if _waiting(session, whose) >= limit:
            raise LimitReached(
                "too many jobs wait already",
                why=f"of one {kind} {limit} may",
                remedy=f"wait for some to start, cancel some, or have limits.pending_jobs_{kind} "
                "raised",
                limit=kind,
                retry_after=30,
            )


def _waiting(session: Session, whose: ColumnElement[bool]) -> int:
    query = select(func.count()).where(whose, JobRow.state.in_(_WAITING))
    return session.scalar(query) or 0
