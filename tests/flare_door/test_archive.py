"""Uploads of FLARE's tools become the bundle that people approve, or are refused."""

from __future__ import annotations

import io
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedgate.bundle import Bundle, BundleLimits, pack_directory
from fedgate.errors import BundleTooLarge, InvalidBundle
from fedgate_flare.front_door import archive
from fedgate_flare.front_door.validator import UploadValidator

JOB = Path(__file__).parents[1] / "flare" / "jobs" / "fedavg"
SECRET = "one key to sign them all"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job folder as FLARE's tools leave it: signed in place by an admin's key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID
    from nvflare.lighter.utils import sign_folders

    folder = tmp_path_factory.mktemp("signed")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ada@example.org")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = folder / "client.crt"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    shutil.copytree(JOB, folder / "job")
    (folder / "job/app/custom/__pycache__").mkdir()
    (folder / "job/app/custom/__pycache__/client.cpython-311.pyc").write_bytes(b"compiled")
    sign_folders(str(folder / "job"), key, str(pem))
    return folder / "job"


def upload(folder: Path, name: str = "any-name") -> bytes:
    """As FLARE's tools zip a folder: with an entry for each folder, below its name."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for path in sorted(folder.rglob("*")):
            zipped.write(path, f"{name}/{path.relative_to(folder)}")
    return out.getvalue()


@pytest.fixture
def put(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content)
        return path

    return write


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def test_the_bundle_is_the_one_of_the_folder_whoever_signed_it(signed, put):
    files = archive.read_upload(put(upload(signed)))
    assert any(path.endswith(".__nvfl_sig.json") for path in files)
    assert archive.pack(files) == pack_directory(JOB)
    again = archive.read_upload(put(upload(signed, "tmpx1y2z3")))
    assert archive.pack(again) == archive.pack(files)


def test_what_was_altered_after_it_was_signed_is_refused(signed, put, tmp_path):
    altered = shutil.copytree(signed, tmp_path / "altered")
    (altered / "app/custom/client.py").write_text("import evil\n")
    with pytest.raises(InvalidBundle, match="altered"):
        archive.read_upload(put(upload(altered)))


def test_what_was_put_beside_what_was_signed_is_refused(signed, put, tmp_path):
    altered = shutil.copytree(signed, tmp_path / "altered")
    (altered / "app/custom/more.py").write_text("import evil\n")
    with pytest.raises(InvalidBundle, match="does not cover"):
        archive.read_upload(put(upload(altered)))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"job/meta.json": b"{}", "job/../../evil": b"x"}, "traversal"),
        ({"job/meta.json": b"{}", "/etc/cron.d/evil": b"x"}, "absolute"),
        ({"other/readme": b"x"}, "no FLARE job"),
        ({"job/meta.json": b"{}", "beside": b"x"}, "no FLARE job"),
    ],
)
def test_archives_that_try_something_are_refused(put, files, words):
    with pytest.raises(InvalidBundle, match=words):
        archive.read_upload(put(zipped(files)))


def test_a_bomb_is_not_unpacked(put, monkeypatch):
    monkeypatch.setattr(archive, "LIMITS", BundleLimits(file_bytes=100_000))
    bomb = zipped({"job/meta.json": b"{}", "job/app/config/big": bytes(2_000_000)})
    assert len(bomb) < 10_000
    with pytest.raises(BundleTooLarge, match="bomb"):
        archive.read_upload(put(bomb))


def test_an_archive_that_is_too_large_is_not_read(put, monkeypatch):
    monkeypatch.setattr(archive, "LIMITS", BundleLimits(archive_bytes=1000))
    with pytest.raises(BundleTooLarge, match="1000 bytes"):
        archive.read_upload(put(upload(JOB)))


def test_no_zip_at_all_is_refused(put):
    with pytest.raises(InvalidBundle):
        archive.read_upload(put(b"#!/bin/sh"))


def test_a_valid_upload_has_the_meta_that_flare_expects(signed, put):
    ok, error, meta = UploadValidator().validate("any-name", str(put(upload(signed))))
    assert (ok, error) == (True, "")
    assert meta["name"] == "fedavg"
    assert meta["min_clients"] == 2
    assert meta["deploy_map"] == {"app": ["@ALL"]}
    assert meta["byoc"] is True


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meta.conf", 'include file("{path}")\nname = x\ndeploy_map {{ app = ["@ALL"] }}'),
        ("meta.conf", 'name = ${{SECRET}}\ndeploy_map {{ app = ["@ALL"] }}'),
        ("meta.yml", "name: ${{oc.env:SECRET}}\ndeploy_map: {{app: ['@ALL']}}\n"),
        ("meta.json.default", '{{"name": "x", "deploy_map": {{"app": ["@ALL"]}}}}'),
    ],
)
def test_a_meta_file_reads_no_other_file_and_no_variable(put, tmp_path, monkeypatch, name, text):
    """FLARE's own parsers would: see the next test."""
    spying = put(_spy(tmp_path, monkeypatch, name, text))
    ok, error, meta = UploadValidator().validate("job", str(spying))
    assert SECRET not in str(meta) + error
    assert not ok or "${" in meta["name"], "refused, or taken for plain text"


def test_flares_own_check_would_show_a_file_of_the_door(put, tmp_path, monkeypatch):
    """Why it is replaced. If this fails, FLARE has mended it."""
    from nvflare.private.fed.server.job_meta_validator import JobMetaValidator

    include = 'include file("{path}")\nname = x\ndeploy_map {{ app = ["@ALL"] }}'
    spying = put(_spy(tmp_path, monkeypatch, "meta.conf", include))
    ok, _, meta = JobMetaValidator().validate("job", str(spying))
    assert ok
    assert SECRET in str(meta)


def _spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> bytes:
    secret = tmp_path / "secret.conf"
    secret.write_text(f'root_pri_key = "{SECRET}"\n')
    monkeypatch.setenv("SECRET", SECRET)
    files = {f"job/{p.relative_to(JOB)}": p.read_bytes() for p in JOB.rglob("*.*") if p.is_file()}
    del files["job/meta.json"]
    files[f"job/{name}"] = text.format(path=secret).encode()
    folders = {"job/app/config/": b"", "job/app/custom/": b""}
    return zipped({**files, **folders})


def test_the_limits_are_those_of_any_bundle():
    assert BundleLimits() == archive.LIMITS
    assert Bundle.read(archive.pack(Bundle.read(upload(JOB)).tree)).tree
