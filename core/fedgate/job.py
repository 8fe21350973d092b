"""A job and its life: one table-driven state machine; there is no other way to change a state."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fedgate.errors import InvalidTransition

#: The setting that names a job's series: its workers begin with what those of the last job of the
#: same series remembered, each at its own site.
SERIES = "fedgate.series"


class JobState(enum.StrEnum):
    SUBMITTED = "submitted"
    IN_REVIEW = "in_review"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DENIED = "denied"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return not TRANSITIONS[self]


class JobEvent(enum.StrEnum):
    """What can happen to a job; each row of the table names one."""

    REVIEW = "review"  # the gateway's policy permits it; data owners decide next
    DENY = "deny"  # a policy or an owner said no
    ACCEPT = "accept"  # every owner that is needed said yes
    ASSIGN = "assign"  # an enclave took it
    START = "start"  # sessions are open, the coordinator runs
    REQUEUE = "requeue"  # the enclave vanished before the coordinator started
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"  # nobody acted within the job's time


_S, _E = JobState, JobEvent
_END: Mapping[JobEvent, JobState] = {
    _E.CANCEL: _S.CANCELLED,
    _E.FAIL: _S.FAILED,
    _E.EXPIRE: _S.EXPIRED,
}
TRANSITIONS: Mapping[JobState, Mapping[JobEvent, JobState]] = {
    _S.SUBMITTED: {_E.REVIEW: _S.IN_REVIEW, _E.DENY: _S.DENIED, **_END},
    _S.IN_REVIEW: {_E.ACCEPT: _S.QUEUED, _E.DENY: _S.DENIED, **_END},
    _S.QUEUED: {_E.ASSIGN: _S.STARTING, _E.DENY: _S.DENIED, **_END},
    _S.STARTING: {_E.START: _S.RUNNING, _E.REQUEUE: _S.QUEUED, _E.DENY: _S.DENIED, **_END},
    _S.RUNNING: {_E.SUCCEED: _S.SUCCEEDED, **_END},
    _S.SUCCEEDED: {},
    _S.DENIED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
    _S.EXPIRED: {},
}


def next_state(state: JobState, event: JobEvent) -> JobState:
    """The state after ``event``; raises :class:`InvalidTransition` where the table has no row."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing, it has ended"
        raise InvalidTransition(
            f"a job that is {state} cannot {event}", why=f"possible now: {allowed}"
        ) from None


@dataclass(frozen=True)
class Job:
    """One governed run of a bundle in a project, on named sites and datasets."""

    id: str
    project: str
    bundle: str  # digest, "sha256:<hex>"
    framework: str
    name: str
    submitter: str
    sites: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    min_sites: int = 1
    config: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    state: JobState = JobState.SUBMITTED
    reason: str = ""
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
