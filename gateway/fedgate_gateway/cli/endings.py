"""What the end of a job means for the command that waited for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedgate.errors import DeadlineExceeded, Denied, FedgateError, WorkloadFailed


def require_success(job: Mapping[str, Any]) -> None:
    """Raise unless the job succeeded: 77 denied, 75 expired, 1 failed or cancelled."""
    state, why = str(job["state"]), str(job.get("reason") or "")
    if state == "succeeded":
        return
    kind: type[FedgateError] = WorkloadFailed
    remedy = f"see `fedgate job logs {job['id']}` and `fedgate job show {job['id']}`"
    if state == "denied":
        kind, remedy = Denied, f"see who denied it: `fedgate job show {job['id']}`"
    elif state == "expired":
        kind, remedy = DeadlineExceeded, "check that its sites are online: `fedgate site list`"
    raise kind(f"{job['id']} {state}", why=why, remedy=remedy)
