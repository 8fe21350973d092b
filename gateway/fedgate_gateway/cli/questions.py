"""The question that a gateway or a site would ask its policy about a workload on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedgate.bundle import Bundle
from fedgate.plugins import recognise
from fedgate_gateway.cli import workload as workloads
from fedgate_gateway.cli.profile import load_profile, profile_path
from fedgate_gateway.config import ProjectConfig, Release, load_config
from fedgate_gateway.policy import (
    EvidenceFacts,
    JoinRequest,
    ReleaseFacts,
    Request,
    SubmitRequest,
    WorkloadFacts,
)


def question(
    workload: Path,
    *,
    action: str,
    project: str,
    site: str,
    sites: Sequence[str],
    datasets: Sequence[str],
    labels: Sequence[str],
    submitter: str,
    evidence: str,
    project_file: Path | None,
    profile: Path | None,
) -> Request:
    """Inspect the workload (its code does not run) and put it into words that policies know."""
    facts = _facts(workload, sites, profile)
    if action == "submit":
        return SubmitRequest(submitter, project, facts, tuple(datasets)).to_request()
    rules = Release() if project_file is None else load_config(ProjectConfig, project_file).release
    return JoinRequest(
        project=project,
        site=site,
        job="job-000000000000",
        submitter=submitter,
        workload=facts,
        evidence=EvidenceFacts(evidence, hardware=evidence != "simulated"),
        release=ReleaseFacts(
            rules.model, rules.artifacts, rules.logs, rules.metrics, rules.minimum_cohort
        ),
        datasets=tuple(datasets),
        labels=tuple(labels),
    ).to_request()


def _facts(path: Path, sites: Sequence[str], profile: Path | None) -> WorkloadFacts:
    allowed: tuple[str, ...] = ("flower", "flare")
    if profile_path(profile).exists():
        allowed = load_profile(profile).adapters
    bundle = Bundle.read(workloads.load(path, adapters=allowed))
    manifest = recognise(bundle.tree, allowed=allowed).inspect(bundle.tree)
    return WorkloadFacts(
        name=manifest.name,
        bundle=bundle.digest,
        framework=manifest.framework,
        framework_version=manifest.framework_version,
        dependencies=manifest.dependencies,
        sites=tuple(sites),
        min_sites=manifest.min_sites,
        frames=manifest.frames,
        brings_code=manifest.brings_code,
        components=manifest.components,
    )
