"""What becomes of the sites of a job, as `fedgate job show` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from fedgate_gateway.control.transitions import MAX_REASON
from fedgate_gateway.store.tables import JobSiteRow


def set_state(session: Session, job: str, told: Mapping[str, Any]) -> None:
    """Keep what an enclave's event says of a site: ready, or lost and why; or its files'."""
    mine = update(JobSiteRow).where(JobSiteRow.job == job, JobSiteRow.site == told["site"])
    why = str(told.get("reason", ""))[:MAX_REASON]
    session.execute(mine.values(state=told["state"], why=why))
