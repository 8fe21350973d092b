"""Jobs and what belongs to them, as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from fedgate.job import JobState
from fedgate.refused_frames import refused
from fedgate_gateway.control.availability import Availability
from fedgate_gateway.control.records import (
    BundleRecord,
    Decision,
    EventRecord,
    JobRecord,
    JobSite,
    Output,
    OutputKind,
)


class SiteView(BaseModel):
    """A site of a job and what its owner decided."""

    site: str
    decision: Decision
    reason: str
    decided: datetime | None
    state: str = Field(
        description="ready, restarting or lost, once the job's enclave says so; in the end what "
        "becomes of files that its worker left, where the request asks for them: files-released, "
        "files-kept or files-lost"
    )
    why: str = Field(description="why it was lost, or its files stay")

    @classmethod
    def of(cls, site: JobSite) -> SiteView:
        return cls(
            site=site.site, decision=site.decision, reason=site.reason, decided=site.decided,
            state=site.state, why=site.why,
        )  # fmt: skip


class SiteAvailabilityView(BaseModel):
    """Whether a site of a job can take part, as far as it has said."""

    site: str
    online: bool = Field(description="linked to the gateway right now")
    lacks: list[str] = Field(
        description="of what the job needs: `dataset NAME`, `adapter NAME`; whether dependencies "
        "and an interpreter are there, its answer says"
    )
    decision: Decision
    reason: str


class AvailabilityView(BaseModel):
    """Whether a job can go on, and when it goes on without whom."""

    job: str
    sites: list[SiteAvailabilityView]
    enclave: bool = Field(description="whether an enclave is linked that runs its framework")
    min_sites: int
    mandatory: list[str] = Field(description="sites that the workload cannot go on without")
    goes_on: datetime | None = Field(
        description="when it goes on without sites that have not answered, if `min_sites` have "
        "accepted; null once it has"
    )

    @classmethod
    def of(cls, job: JobRecord, found: Availability) -> AvailabilityView:
        return cls(
            job=job.id,
            sites=[
                SiteAvailabilityView(
                    site=site.site,
                    online=site.online,
                    lacks=list(site.lacks),
                    decision=site.decision,
                    reason=site.reason,
                )
                for site in found.sites
            ],
            enclave=found.enclave,
            min_sites=found.min_sites,
            mandatory=list(found.mandatory),
            goes_on=found.goes_on,
        )


class JobView(BaseModel):
    """One governed run of a bundle."""

    id: str
    project: str
    bundle: str = Field(description="digest of the archive, what approvers sign: `sha256:<hex>`")
    framework: str
    name: str
    submitter: str
    sites: list[str] = Field(description="in the order of the roster")
    datasets: list[str]
    min_sites: int
    config: dict[str, bool | int | float | str]
    state: JobState
    reason: str = Field(description="why it is in this state, where there is more to say")
    enclave: str = Field(description="who runs it; empty before it is assigned")
    sealed: bool = Field(description="whether the submitter gave a key that outputs are sealed to")
    task_seconds: float | None
    request: str = Field(description="digest of the signed request, `sha256:<hex>`")
    signed_by: str = Field(description="`submitter`, or `gateway` for a door inside the gateway")
    request_expires: datetime | None = Field(description="until when the request counts")
    created: datetime
    pending_until: datetime | None = Field(description="when it expires unless it was started")
    started: datetime | None
    ended: datetime | None

    @classmethod
    def of(cls, job: JobRecord) -> JobView:
        assert job.created is not None
        return cls(
            id=job.id,
            project=job.project,
            bundle=job.bundle,
            framework=job.framework,
            name=job.name,
            submitter=job.submitter,
            sites=list(job.sites),
            datasets=list(job.datasets),
            min_sites=job.min_sites,
            config=dict(job.config),
            state=job.state,
            reason=job.reason,
            enclave=job.enclave,
            sealed=job.recipient is not None,
            task_seconds=job.task_seconds,
            request=job.request,
            signed_by=job.signed_by,
            request_expires=job.request_expires,
            created=job.created,
            pending_until=job.pending_until,
            started=job.started,
            ended=job.ended,
        )


class BundleView(BaseModel):
    """The bundle of a job, as its adapter read it without running it."""

    digest: str
    size: int = Field(description="bytes of the archive")
    framework: str
    manifest: dict[str, Any]

    @classmethod
    def of(cls, bundle: BundleRecord) -> BundleView:
        return cls(
            digest=bundle.digest,
            size=bundle.size,
            framework=bundle.framework,
            manifest=bundle.manifest.to_dict(),
        )


class RefusedFrameView(BaseModel):
    """Opaque traffic that a site's guard refused, which the job may wait for in vain."""

    site: str
    frame: str = Field(description="`channel:topic`, or `undeclared` where no bundle declared it")
    told: str = Field(description="the same as a sentence, with the line that would allow it")

    @classmethod
    def all_of(cls, events: Sequence[EventRecord]) -> list[RefusedFrameView]:
        found = dict.fromkeys((str(e.data["site"]), str(e.data["frame"])) for e in events)
        return [cls(site=s, frame=f, told=refused(s, f)) for s, f in found]


class JobDetail(BaseModel):
    """A job with its sites' decisions and its bundle."""

    job: JobView
    sites: list[SiteView]
    bundle: BundleView
    refused_frames: list[RefusedFrameView] = Field(description="the first of each site and name")
    clear: list[str] = Field(
        description="outputs that its project releases in clear, as its enclave said at the start"
    )


class JobPageView(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobView]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


class OutputView(BaseModel):
    """Something a job released."""

    name: str
    kind: OutputKind
    size: int = Field(description="bytes as stored")
    digest: str = Field(description="of the stored bytes: `sha256:<hex>`")
    sealed: bool = Field(description="whether it is encrypted to the submitter's key")
    created: datetime

    @classmethod
    def of(cls, output: Output) -> OutputView:
        return cls(
            name=output.name,
            kind=output.kind,
            size=output.size,
            digest=output.digest,
            sealed=output.sealed,
            created=output.created,
        )


class OutputsView(BaseModel):
    outputs: list[OutputView]
