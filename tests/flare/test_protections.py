"""What FLARE's parent processes would have checked, and Fedgate's check in their place."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from fedgate.bundle import BundleTree, read_directory
from fedgate.errors import InvalidBundle
from fedgate_flare.adapter import FlareAdapter
from fedgate_gateway.policy import (
    EvidenceFacts,
    JoinRequest,
    Policy,
    ReleaseFacts,
    WorkloadFacts,
    decide_join,
)

JOBS = Path(__file__).parent / "jobs"
adapter = FlareAdapter()


def inspect(folder: Path):
    return adapter.inspect(BundleTree({k: bytes(v) for k, v in read_directory(folder).items()}))


# -- signatures, made by FLARE's own tool ---------------------------------------------------------


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> tuple[rsa.RSAPrivateKey, Path]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lead@example.org")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("signer") / "crt.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, path


@pytest.fixture
def signed(signer, tmp_path) -> Path:
    from nvflare.lighter.utils import sign_folders

    folder = tmp_path / "signed"
    shutil.copytree(JOBS / "fedavg", folder, ignore=shutil.ignore_patterns("__pycache__"))
    sign_folders(str(folder), signer[0], str(signer[1]))
    return folder


def test_a_signed_job_names_its_signer(signed):
    assert any("CN=lead@example.org" in note for note in inspect(signed).notes)


def test_a_job_that_was_altered_after_it_was_signed_is_refused(signed):
    script = signed / "app/custom/client.py"
    script.write_text(script.read_text() + "\nimport os\n")
    with pytest.raises(InvalidBundle, match="altered after it was signed"):
        inspect(signed)


def test_a_file_that_was_added_to_a_signed_job_is_noticed(signed):
    (signed / "app/custom/more.py").write_text("")
    with pytest.raises(InvalidBundle, match="does not cover the job"):
        inspect(signed)


def test_a_folder_that_was_added_to_a_signed_job_is_noticed(signed):
    (signed / "app/custom/inner").mkdir()
    (signed / "app/custom/inner/evil.py").write_text("")
    with pytest.raises(InvalidBundle):
        inspect(signed)


@pytest.mark.parametrize("name", [".__nvfl_sig.json", ".__nvfl_submitter.crt"])
def test_a_signature_in_part_is_none(signed, name):
    (signed / "app/custom" / name).unlink()
    with pytest.raises(InvalidBundle, match=r"signed in part|no certificate"):
        inspect(signed)


# -- class allow-list and code of the job's own, as rules of a site's policy ------------------

_ALLOW = """
permit (principal, action == Action::"join", resource);
@id("byoc") @why("Only FLARE's own classes run here.")
forbid (principal, action == Action::"join", resource) when { context.brings_code };
@id("classes") @why("A class is not on our list.")
forbid (principal, action == Action::"join", resource)
unless { [%s].containsAll(context.components) };
"""
_CLASSES = [
    "nvflare.app_common.workflows.fedavg.FedAvg",
    "nvflare.app_common.np.np_model_persistor.NPModelPersistor",
    "nvflare.app_common.np.np_trainer.NPTrainer",
]


@pytest.fixture
def plain(tmp_path) -> Path:
    """A job without code of its own."""
    folder = tmp_path / "plain"
    shutil.copytree(JOBS / "fedavg", folder, ignore=shutil.ignore_patterns("custom"))
    path = folder / "app/config/config_fed_client.json"
    path.write_text(
        '{"format_version": 2, "executors": [{"tasks": ["train"], "executor": '
        '{"path": "nvflare.app_common.np.np_trainer.NPTrainer", "args": {}}}]}'
    )
    return folder


def decide(folder: Path, classes=_CLASSES):
    manifest = inspect(folder)
    policy = Policy.from_text(_ALLOW % ", ".join(f'"{c}"' for c in classes), "site")
    facts = WorkloadFacts(
        name="x", bundle="sha256:0", framework="flare", sites=("a", "b"),
        brings_code=manifest.brings_code, components=manifest.components,
    )  # fmt: skip
    request = JoinRequest(
        "demo", "a", "job-1", "sue", facts, EvidenceFacts("simulated", False), ReleaseFacts()
    )
    return decide_join(policy, request)


def test_a_job_of_listed_classes_may_join(plain):
    assert decide(plain).allowed


def test_code_of_the_jobs_own_can_be_refused():
    decision = decide(JOBS / "fedavg")
    assert not decision.allowed
    assert "Only FLARE's own classes run here." in decision.why


def test_a_class_that_is_not_on_the_list_can_be_refused_at_any_depth(plain):
    path = plain / "app/config/config_fed_server.json"
    path.write_text(
        path.read_text().replace(
            '"args": {"model"', '"args": {"x": {"path": "subprocess.Popen", "args": {}}, "model"'
        )
    )
    decision = decide(plain)
    assert not decision.allowed
    assert "not on our list" in decision.why
