"""The gateway's own policies, one for each project that has a file, asked on submit."""

from __future__ import annotations

from collections.abc import Mapping

from fedgate_gateway.config import GatewayProject
from fedgate_gateway.control.records import PolicyDecision, Submission
from fedgate_gateway.control.submission import SubmitPolicy
from fedgate_gateway.policy import Policy, SubmitRequest, WorkloadFacts, decide_submit


def project_policies(projects: Mapping[str, GatewayProject]) -> SubmitPolicy:
    """Load every policy now, so that a broken one stops the start and not a submission.

    A project without a file has no policy here: its data owners decide, each at its own site.
    """
    loaded = {
        name: Policy.load(project.policy, f"project {name} at the gateway")
        for name, project in projects.items()
        if project.policy is not None
    }

    def decide(submission: Submission) -> PolicyDecision:
        policy = loaded.get(submission.project)
        if policy is None:
            return PolicyDecision(True, ("the gateway has no policy of its own for this project",))
        decision = decide_submit(policy, _request(submission))
        return PolicyDecision(decision.allowed, (decision.why,))

    return decide


def _request(submission: Submission) -> SubmitRequest:
    manifest = submission.manifest
    facts = WorkloadFacts.of(
        manifest,
        name=submission.name,
        bundle=submission.bundle,
        sites=submission.sites,
        min_sites=submission.min_sites,
        config=submission.config,
        task_seconds=submission.task_seconds,
        request=submission.request,
        signed_by=submission.signed_by,
    )
    return SubmitRequest(submission.submitter, submission.project, facts, submission.datasets)
