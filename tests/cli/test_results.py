"""Fetching outputs from a gateway that lies. Each attack is carried out."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedgate.bundle import pack_files
from fedgate.errors import Conflict, InvalidBundle, InvalidMessage, NotFound, SealBroken
from fedgate_gateway.cli.profile import Profile
from fedgate_gateway.cli.results import fetch_all, read_log
from fedgate_gateway.cli.signing import SignedSubmission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.sealed import BoxContext, BoxFacts, IdentityKey, RecipientKey, seal_stream

JOB, ENCLAVE = "job-0vv41dq75y29", "enclave-1"
ARCHIVE = b"what was submitted"
BUNDLE = "sha256:" + hashlib.sha256(ARCHIVE).hexdigest()
FACTS = BoxFacts(3, ("site-1", "site-2"))
KINDS = {"model.safetensors": "model", "artifacts.zip": "artifacts", "coordinator.log": "log"}


@dataclass
class Gateway:
    """Holds outputs, and can be made to lie about each of them."""

    profile: Profile
    recipient: RecipientKey
    enclave: IdentityKey
    bundle: str = BUNDLE
    request: str = ""  # of the job, as it says
    record: str = ""  # whose record it answers with, whatever was asked for
    stored: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, dict] = field(default_factory=dict)

    def job(self, job_id):
        return {
            "job": {
                "id": self.record or job_id,
                "bundle": self.bundle,
                "enclave": ENCLAVE,
                "request": self.request,
                "sites": ["site-1", "site-2", "site-3"],
            }
        }

    def outputs(self, job_id):
        return [
            {
                "name": name,
                "kind": "site_files" if name.startswith("site-") else KINDS.get(name, "model"),
                "size": len(content),
                "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
                "sealed": True,
                **self.said.get(name, {}),
            }
            for name, content in self.stored.items()
        ]

    def download(self, job_id, name):
        content = self.stored[name]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    def release(
        self,
        name,
        plain,
        *,
        signer=None,
        job=JOB,
        bundle=BUNDLE,
        to=None,
        output=None,
        request=None,
        facts=FACTS,
    ):
        context = BoxContext(job, output or name, bundle, request or self.request)
        public = (to or self.recipient).public_raw
        box = seal_stream(
            [plain], len(plain), public, context, facts=facts, signer=signer or self.enclave
        )
        self.stored[name] = b"".join(box)


@pytest.fixture
def gateway(tmp_path, sent) -> Gateway:
    import base64

    recipient, enclave = RecipientKey.generate(), IdentityKey.generate()
    recipient.save(tmp_path / "recipient.key")
    profile = Profile(
        api="https://x",
        ca=tmp_path / "ca.pem",
        token=tmp_path / "token",
        recipient=tmp_path / "recipient.key",
        enclaves={ENCLAVE: base64.b64encode(enclave.public_raw).decode()},
    )
    return Gateway(profile, recipient, enclave, request=sent.digest)


@pytest.fixture
def sent(signed) -> SignedSubmission:
    return SignedSubmission(ARCHIVE, signed(ARCHIVE), None)


@pytest.fixture
def submissions(tmp_path, sent) -> Submissions:
    made = Submissions(tmp_path / "profile.toml")
    made.submitted({"id": JOB, "bundle": BUNDLE}, sent)
    return made


@pytest.fixture
def fetch(gateway, submissions, tmp_path):
    return lambda **more: fetch_all(gateway, JOB, tmp_path / "out", submissions=submissions, **more)


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_outputs_are_opened_and_artifacts_unpacked(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"weights" * 5000)
    gateway.release("artifacts.zip", pack_files({"a.txt": b"A", "deep/b.txt": b"B"}))
    gateway.release("coordinator.log", b"hello\n")
    fetched = {item.kind: item for item in fetch()}
    assert Path(fetched["model"].path).read_bytes() == b"weights" * 5000
    assert Path(fetched["artifacts"].path, "deep/b.txt").read_bytes() == b"B"
    assert files_below(tmp_path / "out") == {
        "model.safetensors", "artifacts/a.txt", "artifacts/deep/b.txt", "coordinator.log",
    }  # fmt: skip
    assert all(item.sealed for item in fetched.values())
    assert {(item.round, item.cohort) for item in fetched.values()} == {(3, ("site-1", "site-2"))}


def test_a_sealed_log_is_opened(gateway, submissions):
    gateway.release("coordinator.log", b"round 1\n")
    assert read_log(gateway, JOB, submissions=submissions) == "round 1\n"


def refused(fetch, tmp_path, error) -> str:
    with pytest.raises(error) as raised:
        fetch()
    assert files_below(tmp_path / "out") == set()
    return str(raised.value)


def test_a_model_that_another_enclave_signed_is_refused(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"forged", signer=IdentityKey.generate())
    assert "not by the expected identity key" in refused(fetch, tmp_path, SealBroken)


def test_a_model_that_comes_unsealed_is_refused(gateway, fetch, tmp_path):
    gateway.stored["model.safetensors"] = b"forged"
    gateway.said["model.safetensors"] = {"sealed": False}
    assert "is not sealed" in refused(fetch, tmp_path, SealBroken)


def test_an_unsealed_output_is_taken_where_the_profile_says_so(gateway, fetch):
    gateway.profile = gateway.profile.model_copy(update={"clear": ("model",)})
    gateway.stored["model.safetensors"] = b"in clear"
    gateway.said["model.safetensors"] = {"sealed": False}
    (fetched,) = fetch()
    assert Path(fetched.path).read_bytes() == b"in clear"
    assert not fetched.sealed


def test_the_model_of_another_job_is_refused(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"old", job="job-000000000000")
    refused(fetch, tmp_path, SealBroken)


def test_the_record_of_an_earlier_job_does_not_make_its_model_ours(gateway, fetch, tmp_path):
    """The same workload twice: the gateway answers for the new job as if it were the old one."""
    gateway.record = "job-000000000000"
    gateway.release("model.safetensors", b"old", job=gateway.record)
    assert "another job" in refused(fetch, tmp_path, SealBroken)


def test_the_log_of_an_earlier_job_is_not_shown_as_ours(gateway, submissions):
    gateway.record = "job-000000000000"
    gateway.release("coordinator.log", b"old", job=gateway.record)
    with pytest.raises(SealBroken, match="another job"):
        read_log(gateway, JOB, submissions=submissions)


def test_the_model_of_another_request_is_refused(gateway, fetch, tmp_path):
    """The gateway ran the job with other settings, and admits it or not."""
    other = "sha256:" + "0" * 64
    gateway.release("model.safetensors", b"without noise", request=other)
    refused(fetch, tmp_path, SealBroken)
    gateway.request = other
    refused(fetch, tmp_path, SealBroken)


def test_another_output_under_this_name_is_refused(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"a log", output="coordinator.log")
    refused(fetch, tmp_path, SealBroken)


def test_the_model_of_another_bundle_is_refused(gateway, fetch, tmp_path):
    other = "sha256:" + "0" * 64
    gateway.release("model.safetensors", b"other code", bundle=other)
    refused(fetch, tmp_path, SealBroken)
    gateway.bundle = other  # and the gateway admits that it ran other code
    assert "submitted was" in refused(fetch, tmp_path, SealBroken)


def test_a_swapped_bundle_is_noticed_on_submission(tmp_path, sent):
    with pytest.raises(SealBroken, match="not the job that was submitted"):
        Submissions(tmp_path / "p").submitted({"id": JOB, "bundle": "sha256:" + "0" * 64}, sent)


def test_what_was_signed_is_remembered_with_the_job(submissions, sent):
    assert submissions.request(JOB) == sent.digest
    assert submissions.bundle(JOB) == BUNDLE
    assert submissions.request("job-000000000000") is None


def test_an_enclave_that_is_not_pinned_is_not_believed(gateway, fetch, tmp_path):
    gateway.profile = gateway.profile.model_copy(update={"enclaves": {}})
    gateway.release("model.safetensors", b"weights")
    assert "does not know the enclave" in refused(fetch, tmp_path, NotFound)


@pytest.mark.parametrize("damage", ["flip", "cut", "longer"])
def test_damage_on_the_way_is_noticed_and_leaves_no_file(gateway, fetch, tmp_path, damage):
    gateway.release("model.safetensors", b"w" * 5000)
    box = gateway.stored["model.safetensors"]
    gateway.said["model.safetensors"] = dict(gateway.outputs(JOB)[0])
    flipped = box[:-9] + bytes([box[-9] ^ 1]) + box[-8:]
    gateway.stored["model.safetensors"] = {
        "flip": flipped, "cut": box[:-5], "longer": box + b"x",
    }[damage]  # fmt: skip
    refused(fetch, tmp_path, SealBroken)


def test_damage_that_the_gateway_vouches_for_is_noticed_too(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"w" * 5000)
    box = gateway.stored["model.safetensors"]
    gateway.stored["model.safetensors"] = box[:-1] + bytes([box[-1] ^ 1])
    refused(fetch, tmp_path, SealBroken)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/b", "..", ".hidden", "x\0y", ""])
def test_a_name_cannot_leave_the_folder(gateway, fetch, tmp_path, name):
    gateway.stored[name] = b"x"
    refused(fetch, tmp_path, InvalidMessage)
    assert not (tmp_path / "evil").exists()


def hostile_zip(name: str, link: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        info = zipfile.ZipInfo(name)
        info.external_attr = (0o120777 if link else 0o100644) << 16
        zipped.writestr(info, "/etc/passwd")
    return out.getvalue()


@pytest.mark.parametrize(
    "archive",
    [hostile_zip("../evil.txt"), hostile_zip("/evil.txt"), hostile_zip("x", link=True), b"no zip"],
)
def test_artifacts_of_a_hostile_workload_stay_in_their_folder(gateway, fetch, tmp_path, archive):
    gateway.release("artifacts.zip", archive)
    with pytest.raises(InvalidBundle):
        fetch()
    assert not (tmp_path / "evil.txt").exists()
    assert not (tmp_path / "out" / "artifacts").exists()


def test_outputs_of_two_jobs_do_not_mix(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"new")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(Conflict, match="--force"):
        fetch()
    assert fetch(force=True)[0].bytes == 3


def test_a_link_in_the_folder_is_replaced_and_not_followed(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"new")
    (tmp_path / "out").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out" / "model.safetensors").symlink_to(tmp_path / "precious")
    fetch(force=True)
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("job", ["../x", "job-1/../../x", "", "x"])
def test_a_job_s_name_cannot_become_a_path(tmp_path, job):
    with pytest.raises(InvalidMessage):
        Submissions(tmp_path / "p").submitted({"id": job, "bundle": BUNDLE}, ARCHIVE)


def files_of(site: str) -> dict:
    """How an enclave seals the files of one site."""
    return {"facts": BoxFacts(cohort=(site,))}


def test_files_of_sites_lie_below_their_names(gateway, fetch, tmp_path):
    gateway.release("model.safetensors", b"weights")
    for site in ("site-1", "site-2"):
        content = pack_files({"psi/common.csv": site.encode(), "Kaplan Meier.png": b"p"})
        gateway.release(f"site-files.{site}.zip", content, **files_of(site))
    fetched = [item for item in fetch() if item.kind == "site_files"]
    assert [(i.cohort, i.sealed, i.problem) for i in fetched] == [
        (("site-1",), True, ""), (("site-2",), True, ""),
    ]  # fmt: skip
    assert (tmp_path / "out/sites/site-2/psi/common.csv").read_text() == "site-2"
    assert files_below(tmp_path / "out" / "sites") == {
        f"site-{n}/{name}" for n in (1, 2) for name in ("psi/common.csv", "Kaplan Meier.png")
    }


def test_an_archive_that_a_site_made_to_leave_its_folder_costs_its_own_files_alone(
    gateway, fetch, tmp_path
):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../../escaped", "x")
    gateway.release("site-files.site-1.zip", out.getvalue(), **files_of("site-1"))
    gateway.release("site-files.site-2.zip", pack_files({"a": b"A"}), **files_of("site-2"))
    fetched = {item.cohort[0]: item for item in fetch()}
    assert "leaves its folder" in fetched["site-1"].problem
    assert files_below(tmp_path) - {"recipient.key"} >= {"out/sites/site-2/a"}
    assert files_below(tmp_path / "out") == {"sites/site-1.zip", "sites/site-2/a"}


def test_files_are_one_sites_own_sealed_and_signed(gateway, fetch, tmp_path):
    archive, name = pack_files({"a": b"A"}), "site-files.site-1.zip"
    gateway.release(name, archive)  # of a cohort of two
    assert "that site alone" in refused(fetch, tmp_path, SealBroken)
    gateway.release(name, archive, output="site-files.site-2.zip", **files_of("site-2"))
    refused(fetch, tmp_path, SealBroken)
    gateway.release(name, archive, signer=IdentityKey.generate(), **files_of("site-1"))
    refused(fetch, tmp_path, SealBroken)
    gateway.profile = gateway.profile.model_copy(update={"clear": ("site_files",)})
    gateway.stored[name], gateway.said[name] = archive, {"sealed": False}
    assert "is not sealed" in refused(fetch, tmp_path, SealBroken)
    del gateway.stored[name]
    gateway.release("site-files.Patient.zip", archive, **files_of("Patient"))
    assert "no site of the job" in refused(fetch, tmp_path, InvalidMessage)
