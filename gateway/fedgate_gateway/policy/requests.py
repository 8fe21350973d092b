"""The two questions that Fedgate asks policies, typed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from fedgate.job import Job
from fedgate.manifest import Manifest
from fedgate_gateway.policy.decision import Decision
from fedgate_gateway.policy.engine import Policy, Request, Uid


@dataclass(frozen=True)
class WorkloadFacts:
    """What is known of a workload and its job without running it."""

    name: str
    bundle: str  # "sha256:<hex>"
    framework: str
    framework_version: str = ""
    dependencies: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    min_sites: int = 1
    frames: tuple[str, ...] = ()
    config: tuple[str, ...] = ()  # names of overridden settings
    brings_code: bool = True
    components: tuple[str, ...] = ()  # classes that its configuration names to be loaded

    @classmethod
    def of(cls, job: Job, manifest: Manifest) -> WorkloadFacts:
        return cls(
            name=job.name,
            bundle=job.bundle,
            framework=manifest.framework,
            framework_version=manifest.framework_version,
            dependencies=manifest.dependencies,
            sites=job.sites,
            min_sites=max(job.min_sites, manifest.min_sites),
            frames=manifest.frames,
            config=tuple(sorted(job.config)),
            brings_code=manifest.brings_code,
            components=manifest.components,
        )

    def context(self) -> dict[str, Any]:
        # A site that is named twice is one site.
        return {
            **asdict(self),
            "sites": sorted(set(self.sites)),
            "site_count": len(set(self.sites)),
        }


@dataclass(frozen=True)
class EvidenceFacts:
    """The appraised enclave, as in :class:`fedgate_gateway.attestation.Claims`."""

    kind: str
    hardware: bool
    measurement: str = ""


@dataclass(frozen=True)
class ReleaseFacts:
    """The project's release rules, as in :class:`fedgate_gateway.config.Release`."""

    model: str = "sealed"
    artifacts: str = "sealed"
    logs: str = "sealed"
    metrics: str = "clear"
    minimum_cohort: int = 1


@dataclass(frozen=True)
class SubmitRequest:
    """May ``submitter`` hand this workload to ``project``? Asked by the gateway."""

    submitter: str
    project: str
    workload: WorkloadFacts
    datasets: tuple[str, ...] = ()

    def to_request(self) -> Request:
        context = {**self.workload.context(), "datasets": self.datasets}
        return Request("submit", Uid("User", self.submitter), Uid("Project", self.project), context)


@dataclass(frozen=True)
class JoinRequest:
    """May ``project`` run this job on the data of ``site``? Asked by each site for itself."""

    project: str
    site: str
    job: str
    submitter: str
    workload: WorkloadFacts
    evidence: EvidenceFacts
    release: ReleaseFacts
    datasets: tuple[str, ...] = ()
    labels: tuple[str, ...] = field(default=())

    def to_request(self) -> Request:
        context = {
            **self.workload.context(),
            "job": self.job,
            "submitter": {"__entity": Uid("User", self.submitter).to_cedar()},
            "datasets": self.datasets,
            "labels": self.labels,
            "evidence": asdict(self.evidence),
            "release": asdict(self.release),
        }
        return Request("join", Uid("Project", self.project), Uid("Site", self.site), context)


def decide_submit(policy: Policy, request: SubmitRequest) -> Decision:
    return policy.decide_request(request.to_request())


def decide_join(policy: Policy, request: JoinRequest) -> Decision:
    return policy.decide_request(request.to_request())
