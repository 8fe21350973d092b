"""Whether a job can go on: who is linked, who has what it needs, and when it will not wait longer.

All of it is what the job's own sites said to this gateway, and of what they have only what this job
asks for: whoever sees the job learns no more of a site than its answer will tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fedgate.job import JobState
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.records import Decision, JobRecord, JobSite

#: Sites that did not answer an offer for this long count as absent, if enough others said yes.
REVIEW_SECONDS = 30.0
_REVIEWED = (JobState.SUBMITTED, JobState.IN_REVIEW)


@dataclass(frozen=True)
class Offer:
    """What a linked peer says that it has."""

    frameworks: frozenset[str]
    datasets: frozenset[str]
    #: Projects whose file differs from that of each enclave: no job of theirs starts there.
    differing: frozenset[str] = frozenset()


#: Of a linked site; None: it is not linked.
SiteOffer = Callable[[str], Offer | None]


@dataclass(frozen=True)
class SiteAvailability:
    site: str
    online: bool
    #: Of what the job needs, in words; of a site that is not linked nobody knows.
    lacks: tuple[str, ...]
    decision: Decision
    reason: str


@dataclass(frozen=True)
class Availability:
    sites: tuple[SiteAvailability, ...]
    #: Is an enclave linked that runs its framework?
    enclave: bool
    min_sites: int
    #: Those without which the workload cannot go on, at any time.
    mandatory: tuple[str, ...]
    #: When it goes on without those that have not answered, if min_sites have accepted; None: it
    #: is past that.
    goes_on: datetime | None


def availability(
    job: JobRecord,
    sites: tuple[JobSite, ...],
    offer: SiteOffer,
    *,
    enclave: bool,
    mandatory: tuple[str, ...],
) -> Availability:
    """Of a job as it is now."""
    assert job.created is not None
    waits = job.state in _REVIEWED
    return Availability(
        tuple(_site(job, site, offer(site.site)) for site in sites),
        enclave,
        job.min_sites,
        mandatory,
        job.created + timedelta(seconds=REVIEW_SECONDS) if waits else None,
    )


async def decided(jobs: JobService, job_id: str, offer: SiteOffer, *, seconds: float) -> None:
    """Returns once every linked site of a job has answered, at the latest after ``seconds``."""
    loop, after = asyncio.get_running_loop(), 0
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        job = await asyncio.to_thread(jobs.get, job_id)
        sites = await asyncio.to_thread(jobs.job_sites, job_id)
        asked = [s for s in sites if s.decision is Decision.PENDING and offer(s.site) is not None]
        if not asked or job.state not in _REVIEWED:
            return
        for event in await jobs.wait_events(job_id, after, seconds=left):
            after = event.id


def _site(job: JobRecord, site: JobSite, offer: Offer | None) -> SiteAvailability:
    lacks: list[str] = []
    if offer is not None:
        lacks += [f"dataset {name}" for name in job.datasets if name not in offer.datasets]
        if job.framework not in offer.frameworks:
            lacks.append(f"adapter {job.framework}")
        if job.project in offer.differing:
            lacks.append("the project file that the enclave has")
    return SiteAvailability(site.site, offer is not None, tuple(lacks), site.decision, site.reason)
