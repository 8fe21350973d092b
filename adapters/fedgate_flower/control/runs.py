"""A job in Flower's words: its run, its status, its federation."""

from __future__ import annotations

import re
from datetime import datetime

from fedgate.errors import InvalidMessage
from fedgate.front_door import Sight
from fedgate.job import JobState
from fedgate_flower.control import wire_pb2 as pb

#: Flower writes a federation as ``@account/name``. Ours belong to the gateway; the name is the
#: project's.
ACCOUNT = "fedgate"
_FEDERATION = re.compile(rf"@{ACCOUNT}/([a-z0-9][a-z0-9-]{{0,62}})")
_SERVER_APP = "flwr-serverapp"

_STATUS = {
    JobState.SUBMITTED: ("pending", ""),
    JobState.IN_REVIEW: ("pending", ""),
    JobState.QUEUED: ("pending", ""),
    JobState.STARTING: ("starting", ""),
    JobState.RUNNING: ("running", ""),
    JobState.SUCCEEDED: ("finished", "completed"),
    JobState.DENIED: ("finished", "failed"),
    JobState.FAILED: ("finished", "failed"),
    JobState.EXPIRED: ("finished", "failed"),
    JobState.CANCELLED: ("finished", "stopped"),
}


def federation(project: str) -> str:
    return f"@{ACCOUNT}/{project}"


def project_of(name: str) -> str:
    """The project that a federation stands for; "" for none. Raises :class:`InvalidMessage`."""
    if not name:
        return ""
    match = _FEDERATION.fullmatch(name)
    if match is None:
        raise InvalidMessage(
            f"there is no federation {name[:100]!r} at this gateway",
            why=f"its federations are called @{ACCOUNT}/<project>",
            remedy="leave --federation out, or name one of them",
        )
    return match[1]


def run(sight: Sight) -> pb.Run:
    job = sight.job
    status, sub_status = _STATUS[job.state]
    return pb.Run(
        run_id=sight.number,
        fab_id=sight.manifest.name,
        fab_version=sight.manifest.version,
        override_config={key: _scalar(value) for key, value in job.config.items()},
        fab_hash=job.bundle.removeprefix("sha256:"),
        pending_at=_time(job.created),
        starting_at=_time(sight.entered.get(JobState.STARTING)),
        running_at=_time(job.started),
        finished_at=_time(job.ended),
        status=pb.RunStatus(status=status, sub_status=sub_status, details=details(sight)),
        federation=federation(job.project),
        bytes_sent=sight.sent_bytes,
        bytes_recv=sight.received_bytes,
        primary_task_type=_SERVER_APP,
        account_name=job.submitter,
    )


def details(sight: Sight) -> str:
    """Our own state and reason: Flower's statuses do not tell a denial from a crash."""
    text = str(sight.job.state).replace("_", " ")
    return f"{text}: {sight.explanation}" if sight.explanation else text


def note(sight: Sight) -> str:
    """What ``flwr run`` says about a run that was just started."""
    return f"{sight.job.id}, {details(sight)}"


def _time(at: datetime | None) -> str:
    return "" if at is None else at.isoformat()


def _scalar(value: str | float | bool) -> pb.Scalar:
    match value:
        case bool():
            return pb.Scalar(truth=value)
        case int() if value < 0:
            return pb.Scalar(integer=value)
        case int():
            return pb.Scalar(natural=value)
        case float():
            return pb.Scalar(real=value)
    return pb.Scalar(text=value)
