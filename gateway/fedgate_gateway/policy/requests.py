"""The questions that Fedgate asks policies, typed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from fedgate.manifest import Manifest
from fedgate.task import Scalar
from fedgate_gateway.config import Release
from fedgate_gateway.policy.decision import Decision
from fedgate_gateway.policy.engine import Policy, Request, Uid
from fedgate_gateway.policy.settings import SETTINGS, settings_entity

#: Names of files, and their ends, that policies can read.
_FILE = re.compile(r"[A-Za-z0-9._/-]{1,128}")
_SUFFIX = re.compile(r"(\.[A-Za-z0-9]{1,15})?")


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
    arguments: tuple[str, ...] = ()  # "class: argument = value", what they are handed
    guard: tuple[str, ...] = ()  # what its results need beyond a guard's strict rules
    attaches: bool = False  # to a trainer that a site's owner starts outside the sandbox
    #: Every setting that the workload declares or the submitter gives, with the value it will have.
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    task_seconds: float | None = None  # None: the enclave's own limit
    request: str = ""  # digest of the signed request, "sha256:<hex>"
    signed_by: str = "gateway"  # who signed it: "submitter", or "gateway" for a door inside one

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        name: str,
        bundle: str,
        sites: tuple[str, ...],
        min_sites: int,
        config: Mapping[str, Scalar],
        task_seconds: float | None,
        request: str,
        signed_by: str,
    ) -> WorkloadFacts:
        """The facts of a job that was asked for with these choices.

        The only place where they are put together: gateway, sites and `fedgate policy explain` ask
        the same question.
        """
        return cls(
            name=name,
            bundle=bundle,
            framework=manifest.framework,
            framework_version=manifest.framework_version,
            dependencies=manifest.dependencies,
            sites=sites,
            min_sites=min_sites,
            frames=manifest.frames,
            config=tuple(sorted(config)),
            brings_code=manifest.brings_code,
            components=manifest.components,
            arguments=manifest.arguments,
            guard=manifest.guard,
            attaches=manifest.attaches,
            settings={**manifest.config, **config},
            task_seconds=task_seconds,
            request=request,
            signed_by=signed_by,
        )

    def context(self) -> dict[str, Any]:
        return {
            **asdict(self),
            # A site that is named twice is one site.
            "sites": sorted(set(self.sites)),
            "site_count": len(set(self.sites)),
            "settings": {"__entity": SETTINGS},
            "task_seconds": math.ceil(self.task_seconds or 0),
        }

    def entities(self) -> tuple[dict[str, Any], ...]:
        return (settings_entity(self.settings),)


@dataclass(frozen=True)
class EvidenceFacts:
    """The appraised enclave, as in :class:`fedgate_gateway.attestation.Claims`."""

    kind: str
    hardware: bool
    measurement: str = ""
    #: What the enclave confines workloads with, by its terms; "process" is nothing.
    sandbox: str = ""


@dataclass(frozen=True)
class ReleaseFacts:
    """The project's release rules, as in :class:`fedgate_gateway.config.Release`."""

    model: str = "sealed"
    artifacts: str = "sealed"
    logs: str = "sealed"
    metrics: str = "clear"
    minimum_cohort: int = 1  # of the model; of the others, what counts for them
    artifacts_minimum_cohort: int = 1
    logs_minimum_cohort: int = 1
    metrics_minimum_cohort: int = 1
    site_files: str = "never"

    @classmethod
    def of(cls, rules: Release) -> ReleaseFacts:
        return cls(
            model=rules.model,
            artifacts=rules.artifacts,
            logs=rules.logs,
            metrics=rules.metrics,
            minimum_cohort=rules.minimum("model"),
            artifacts_minimum_cohort=rules.minimum("artifacts"),
            logs_minimum_cohort=rules.minimum("logs"),
            metrics_minimum_cohort=rules.minimum("metrics"),
            site_files=rules.site_files,
        )


@dataclass(frozen=True)
class FileFacts:
    """Files that a worker left at its site; their names are the workload's to choose."""

    files: int = 0
    bytes: int = 0
    names: tuple[str, ...] = ()

    def context(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "bytes": self.bytes,
            "file_names": sorted({n if _FILE.fullmatch(n) else "unnamed" for n in self.names}),
            "file_types": sorted({_type(PurePosixPath(n).suffix) for n in self.names}),
        }


def _type(suffix: str) -> str:
    return suffix.lower() if _SUFFIX.fullmatch(suffix) else "other"


@dataclass(frozen=True)
class SubmitRequest:
    """May ``submitter`` hand this workload to ``project``? Asked by the gateway."""

    submitter: str
    project: str
    workload: WorkloadFacts
    datasets: tuple[str, ...] = ()

    def to_request(self) -> Request:
        context = {**self.workload.context(), "datasets": self.datasets}
        user, project = Uid("User", self.submitter), Uid("Project", self.project)
        return Request("submit", user, project, context, self.workload.entities())


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
    site_files: bool = False  # the request asks for files that workers leave at sites

    def to_request(self) -> Request:
        return self._asked("join", {"site_files": self.site_files})

    def for_files(self, found: FileFacts) -> Request:
        """May these files of the same job go? Asked when it has succeeded."""
        return self._asked("release_files", found.context())

    def _asked(self, action: str, more: Mapping[str, Any]) -> Request:
        context = {
            **self.workload.context(),
            "job": self.job,
            "submitter": {"__entity": Uid("User", self.submitter).to_cedar()},
            "datasets": self.datasets,
            "labels": self.labels,
            "evidence": asdict(self.evidence),
            "release": asdict(self.release),
            **more,
        }
        project, site = Uid("Project", self.project), Uid("Site", self.site)
        return Request(action, project, site, context, self.workload.entities())


def decide_submit(policy: Policy, request: SubmitRequest) -> Decision:
    return policy.decide_request(request.to_request())


def decide_join(policy: Policy, request: JoinRequest) -> Decision:
    return policy.decide_request(request.to_request())


def decide_release(policy: Policy, request: JoinRequest, found: FileFacts) -> Decision:
    return policy.decide_request(request.for_files(found))
