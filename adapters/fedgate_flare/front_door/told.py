"""What the meta of a FLARE job says about its life at the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fedgate.job import Job, JobState
from fedgate.side_door import Happening

#: The key under which it stands.
TOLD = "fedgate"
#: Lines "who: what", which `nvflare job meta` shows under "Deployment".
_DETAIL = "job_deploy_detail"


@dataclass(frozen=True)
class Told:
    """The gateway's job; ``job`` is empty before it was handed in."""

    job: str = ""
    project: str = ""
    bundle: str = ""
    state: JobState = JobState.SUBMITTED
    reason: str = ""
    #: Site -> what its owner decided, and why.
    sites: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, job: Job) -> Told:
        return cls(
            job.id, job.project, job.bundle, job.state, job.reason, dict.fromkeys(job.sites, "")
        )

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> Told:
        told = meta.get(TOLD)
        if not isinstance(told, Mapping):
            return cls()
        return cls(
            job=str(told["job"]),
            project=str(told["project"]),
            bundle=str(told["bundle"]),
            state=JobState(told["state"]),
            reason=str(told["reason"]),
            sites=dict(told["sites"]),
        )

    def after(self, happening: Happening) -> Told:
        """What does not tell anything that stands here changes nothing."""
        what, reason = happening.data, str(happening.data.get("reason") or "")
        if happening.kind == "state" and what.get("state") in set(JobState):
            return self.ended(JobState(what["state"]), reason)
        if happening.kind == "site" and what.get("site") in self.sites:
            decision = str(what.get("decision", "?"))
            text = f"{decision}: {reason}" if reason else decision
            return replace(self, sites={**self.sites, str(what["site"]): text})
        return self

    def ended(self, state: JobState, reason: str) -> Told:
        return replace(self, state=state, reason=reason)

    def to_meta(self) -> dict[str, Any]:
        said = f"{self.state.replace('_', ' ')}: {self.reason}" if self.reason else str(self.state)
        detail = [
            f"gateway: {said}",
            *(f"{s}: {text or 'asked'}" for s, text in self.sites.items()),
        ]
        told = {
            "job": self.job, "project": self.project, "bundle": self.bundle,
            "state": self.state.value, "reason": self.reason, "sites": dict(self.sites),
        }  # fmt: skip
        return {TOLD: told, _DETAIL: detail}
