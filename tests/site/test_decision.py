"""A site decides by what it read itself and by its own files, not by what a gateway says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import digest_of, pack_files
from fedgate.errors import Denied, FedgateError, InvalidBundle, NotFound, PluginUnavailable
from fedgate_gateway.attestation import Claims
from fedgate_gateway.config import Dataset, Member, ProjectConfig, SiteConfig
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.site.decision import Decider, examine
from fedgate_proto.v1 import link_pb2 as pb

FILES = {"plain.toml": b'name = "n"\nmodule = "w.py"\nrounds = 1\n', "w.py": b"def train(): ..."}
BUNDLE = pack_files(FILES)
RECIPIENT = b"r" * 1216
OPEN = "permit(principal, action, resource);"


def config(folder: Path, policy: str = OPEN, **changes: Any) -> SiteConfig:
    (folder / "policy.cedar").write_text(policy)
    fields: dict[str, Any] = {
        "name": "a", "data": folder, "gateway": "localhost:1", "api": "https://localhost:2",
        "adapters": ("plain",), "evidence": ("simulated",), "policy": folder / "policy.cedar",
        "projects": (), "datasets": {"numbers": Dataset(path=folder)}, **changes,
    }  # fmt: skip
    return SiteConfig(**fields)


def decider(folder: Path, policy: str = OPEN, **changes: Any) -> Decider:
    members = {name: Member(identity="A" * 43 + "=") for name in ("a", "b")}
    project = ProjectConfig(name="demo", members=members, recipients=(fingerprint(RECIPIENT),))
    return Decider(config(folder, policy, **changes), {"demo": project})


def spec(**changes: Any) -> Spec:
    fields: dict[str, Any] = {
        "job": "job-1", "project": "demo", "name": "n", "bundle": digest_of(BUNDLE),
        "bundle_bytes": len(BUNDLE), "framework": "plain", "submitter": "me", "sites": ["a", "b"],
        "manifest": json.dumps({"framework": "plain", "name": "n"}), "min_sites": 1, "config": "{}",
        "recipient": RECIPIENT,
        "request": b"signed",
    }  # fmt: skip
    return Spec.read(pb.JobSpec(**{**fields, **changes}))


def test_a_site_parses_the_bundle_itself(tmp_path: Path) -> None:
    lie = spec(framework="flower", manifest=json.dumps({"framework": "flower", "name": "nice"}))
    assert examine(lie, BUNDLE, config(tmp_path)).manifest.framework == "plain"


@pytest.mark.parametrize(
    "delivered",
    [
        pack_files({**FILES, "w.py": b"import os; os.system('curl evil')"}),
        BUNDLE + b"\0",
        BUNDLE[:-1],
        b"",
    ],
    ids=["swapped", "longer", "shorter", "nothing"],
)
def test_a_gateway_that_swaps_the_bundle_is_caught_by_its_digest(
    tmp_path: Path, delivered: bytes
) -> None:
    with pytest.raises(InvalidBundle):
        examine(spec(), delivered, config(tmp_path))


def test_a_framework_that_the_site_does_not_allow_is_not_even_inspected(tmp_path: Path) -> None:
    with pytest.raises((PluginUnavailable, FedgateError)):
        examine(spec(), BUNDLE, config(tmp_path, adapters=("flower",)))


def test_an_owner_who_remembers_nothing_declines_a_series(tmp_path: Path) -> None:
    series = spec(config='{"fedgate.series": "study"}')
    manifest = examine(series, BUNDLE, config(tmp_path)).manifest
    assert decider(tmp_path).before(series, manifest)
    with pytest.raises(Denied, match="remembers nothing"):
        decider(tmp_path, series_days=0).before(series, manifest)
    assert decider(tmp_path, series_days=0).before(spec(), manifest)
    never = (
        OPEN
        + 'forbid(principal, action, resource) when {context.config.contains("fedgate.series")};'
    )
    with pytest.raises(Denied):
        decider(tmp_path, never).before(series, manifest)


def test_a_job_of_the_project_is_accepted_with_the_policys_reason(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    assert decider(tmp_path).before(spec(), manifest)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"project": "other"}, NotFound),
        ({"sites": ["a", "fake"]}, Denied),
        ({"sites": ["b"]}, Denied),
        ({"datasets": ["secrets"]}, Denied),
        ({"recipient": b"g" * 1216}, Denied),
        ({"recipient": b""}, Denied),
    ],
    ids=[
        "unknown project",
        "a site that is no member",
        "not for us",
        "a dataset we do not have",
        "sealed to the gateway's own key",
        "sealed to nobody",
    ],
)
def test_a_job_that_is_not_of_our_project_is_denied(
    tmp_path: Path, changes: dict[str, Any], error: type[FedgateError]
) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(error):
        decider(tmp_path).before(spec(**changes), manifest)


@pytest.mark.parametrize(
    "policy",
    [
        """permit(principal, action == Action::"join", resource)
           when { context.evidence.kind == "tdx" };""",
        "forbid(principal, action, resource);",
        OPEN + "forbid(principal, action, resource);",
    ],
)
def test_a_policy_that_does_not_say_yes_says_no(tmp_path: Path, policy: str) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied, match="does not take part"):
        decider(tmp_path, policy).before(spec(), manifest)


def test_a_site_that_trusts_no_kind_of_evidence_takes_no_part(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied, match="no kind of evidence"):
        decider(tmp_path, evidence=()).before(spec(), manifest)


def test_the_policy_is_asked_again_with_what_the_evidence_really_says(tmp_path: Path) -> None:
    hardware_only = (
        'permit(principal, action == Action::"join", resource) when { context.evidence.hardware };'
    )
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, hardware_only, evidence=("tdx", "simulated"))
    site.before(spec(), manifest)  # a TDX enclave would do
    with pytest.raises(Denied, match="refuses the enclave"):
        site.with_claims(spec(), manifest, Claims("simulated", False, "ab" * 32, bytes(64)))
    site.with_claims(spec(), manifest, Claims("tdx", True, "ab" * 32, bytes(64)))


def test_frames_that_a_workload_needs_and_the_owner_does_not_allow_are_a_no(tmp_path: Path) -> None:
    from dataclasses import replace

    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied):
        decider(tmp_path).before(spec(), replace(manifest, frames=("aux:swarm",)))


def test_a_workload_that_waits_for_trainers_needs_an_owner_who_has_some(tmp_path: Path) -> None:
    manifest = replace(examine(spec(), BUNDLE, config(tmp_path)).manifest, attaches=True)
    with pytest.raises(Denied, match="runs no trainers outside its sandbox"):
        decider(tmp_path).before(spec(), manifest)
    assert decider(tmp_path, trainers=tmp_path).before(spec(), manifest)
