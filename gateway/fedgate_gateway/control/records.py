"""What the gateway knows of jobs, in the words that the API, the scheduler and the relay share."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedgate.job import Job
from fedgate.manifest import Manifest
from fedgate.task import Scalar

#: The kind of event that a state change writes; nobody else may.
STATE_EVENT = "state"
SITE_EVENT = "site"
OUTPUT_EVENT = "output"
LOG_EVENT = "log"
SITE_STATE_EVENT = "site-state"
FRAME_REFUSED_EVENT = "frame-refused"
WAITING_EVENT = "waiting"


@dataclass(frozen=True)
class JobRecord(Job):
    """A job with what only the gateway needs to know of it."""

    #: Until when it may wait in review and in the queue; see ``GatewayLimits.pending_seconds``.
    pending_until: datetime | None = None
    #: The enclave that took it; empty before that.
    enclave: str = ""
    #: Raw X-Wing public key that outputs are sealed to; none where the project releases in clear.
    recipient: bytes | None = None
    #: Seconds one task may take; none: what the enclave's configuration says.
    task_seconds: float | None = None
    #: What was signed: its digest, by which kind of signer, and until when it may be run.
    request: str = ""
    signed_by: str = ""
    request_expires: datetime | None = None


@dataclass(frozen=True)
class EventRecord:
    """One thing that happened to a job; ids grow, and are those of the server-sent events."""

    id: int
    job: str
    at: datetime
    kind: str
    data: Mapping[str, Any]


class Decision(enum.StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    DENIED = "denied"
    ABSENT = "absent"  # it did not decide, and is not asked any more


@dataclass(frozen=True)
class JobSite:
    site: str
    decision: Decision
    reason: str = ""
    decided: datetime | None = None
    #: "ready", "restarting" or "lost", once the job's enclave has said so, and why it was lost; of
    #: files that its worker left, "files-released", "files-kept" or "files-lost", and why.
    state: str = ""
    why: str = ""


class OutputKind(enum.StrEnum):
    MODEL = "model"
    ARTIFACTS = "artifacts"
    METRICS = "metrics"
    LOG = "log"
    SITE_FILES = "site_files"


@dataclass(frozen=True)
class Output:
    """Something a job released. ``digest`` is of the stored bytes, sealed or not."""

    job: str
    name: str
    kind: OutputKind
    object_key: str
    size: int
    digest: str
    sealed: bool
    created: datetime


@dataclass(frozen=True)
class BundleRecord:
    digest: str
    size: int
    framework: str
    manifest: Manifest
    object_key: str


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a listing shows; None means any."""

    project: str | None = None
    state: str | None = None
    framework: str | None = None
    submitter: str | None = None


@dataclass(frozen=True)
class JobPage:
    jobs: tuple[JobRecord, ...]
    #: For the next call; none on the last page.
    next_cursor: str | None


@dataclass(frozen=True)
class SubmitOptions:
    """What comes with a bundle: everything that is chosen stands in the signed request."""

    #: The envelope; see :mod:`fedgate_gateway.governance`.
    request: bytes
    #: The key whose fingerprint the request names.
    recipient: bytes | None = None
    #: The same key and request from the same token give the same job.
    idempotency_key: str = ""


@dataclass(frozen=True)
class Submission:
    """A checked submission, as the gateway's policy sees it."""

    project: str
    submitter: str
    name: str
    bundle: str
    size: int
    manifest: Manifest
    sites: tuple[str, ...]
    datasets: tuple[str, ...]
    min_sites: int
    config: Mapping[str, Scalar]
    task_seconds: float | None
    #: Digest of the signed request.
    request: str
    #: "submitter" or "gateway": who vouches for all this.
    signed_by: str


@dataclass(frozen=True)
class PolicyDecision:
    allowed: bool
    #: Why, for a person: the rules that decided, or the errors that made it a no.
    reasons: tuple[str, ...] = ()
