"""The question that a gateway or a site would ask its policy about a workload on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fedgate.bundle import Bundle
from fedgate.manifest import Manifest
from fedgate.plugins import recognise
from fedgate.task import Scalar
from fedgate_gateway.cli import workload as workloads
from fedgate_gateway.cli.profile import load_profile, profile_path
from fedgate_gateway.config import ProjectConfig, Release, load_config
from fedgate_gateway.policy import (
    EvidenceFacts,
    FileFacts,
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
    config: Mapping[str, Scalar],
    min_sites: int | None,
    task_seconds: float | None,
    signed_by: str,
    evidence: str,
    sandbox: str,
    file_names: Sequence[str],
    file_bytes: int,
    project_file: Path | None,
    profile: Path | None,
) -> Request:
    """Inspect the workload (its code does not run) and put it into words that policies know."""
    bundle, manifest = _inspect(workload, profile)
    rules = Release() if project_file is None else load_config(ProjectConfig, project_file).release
    least = max(manifest.min_sites, rules.least_sites)
    facts = WorkloadFacts.of(
        manifest,
        name=manifest.name,
        bundle=bundle,
        sites=tuple(sites),
        min_sites=least if min_sites is None else min_sites,
        config=config,
        task_seconds=task_seconds,
        request="sha256:" + "0" * 64,
        signed_by=signed_by,
    )
    if action == "submit":
        return SubmitRequest(submitter, project, facts, tuple(datasets)).to_request()
    join = JoinRequest(
        project=project,
        site=site,
        job="job-000000000000",
        submitter=submitter,
        workload=facts,
        evidence=EvidenceFacts(evidence, hardware=evidence != "simulated", sandbox=sandbox),
        release=ReleaseFacts.of(rules),
        datasets=tuple(datasets),
        labels=tuple(labels),
        site_files=action == "release_files",
    )
    if action == "release_files":
        return join.for_files(FileFacts(len(file_names), file_bytes, tuple(file_names)))
    return join.to_request()


def _inspect(path: Path, profile: Path | None) -> tuple[str, Manifest]:
    """The digest of the workload's bundle, and what its files say."""
    allowed: tuple[str, ...] = ("flower", "flare")
    if profile_path(profile).exists():
        allowed = load_profile(profile).adapters
    bundle = Bundle.read(workloads.load(path, adapters=allowed))
    return bundle.digest, recognise(bundle.tree, allowed=allowed).inspect(bundle.tree)
