"""The states of a job in FLARE's words."""

from __future__ import annotations

from collections.abc import Mapping

from nvflare.apis.job_def import RunStatus

from fedgate.job import JobState

STATUS: Mapping[JobState, RunStatus] = {
    JobState.SUBMITTED: RunStatus.SUBMITTED,
    JobState.IN_REVIEW: RunStatus.SUBMITTED,
    JobState.QUEUED: RunStatus.APPROVED,
    JobState.STARTING: RunStatus.DISPATCHED,
    JobState.RUNNING: RunStatus.RUNNING,
    JobState.SUCCEEDED: RunStatus.FINISHED_COMPLETED,
    JobState.FAILED: RunStatus.FINISHED_EXECUTION_EXCEPTION,
    JobState.CANCELLED: RunStatus.FINISHED_ABORTED,
    # FLARE has no word for a no; the job's meta says who said it.
    JobState.DENIED: RunStatus.FINISHED_CANT_SCHEDULE,
    JobState.EXPIRED: RunStatus.FINISHED_CANT_SCHEDULE,
}
