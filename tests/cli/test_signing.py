"""What is submitted is signed here, and a gateway that takes something else is noticed."""

from __future__ import annotations

import re
import time
from base64 import b64decode

import pytest

from fedgate.bundle import digest_of
from fedgate.errors import InvalidConfig, InvalidMessage, SealBroken
from fedgate.front_door import Order
from fedgate_gateway.cli import client as client_module
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.durations import parse_duration
from fedgate_gateway.cli.profile import load_profile
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submitter import ProfileSubmitter
from fedgate_gateway.config import ProjectConfig
from fedgate_gateway.governance import verify_request
from fedgate_gateway.governance.signed_request import read_unverified

JOB, ARCHIVE = "job-0vv41dq75y29", b"zip"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def profile(gateway, tmp_path):
    return gateway.profile(tmp_path / "profile")


@pytest.fixture
def client(profile):
    with Client(load_profile(profile)) as made:
        yield made


def job(digest: str, **changes):
    return {
        "id": JOB, "project": "demo", "bundle": digest_of(ARCHIVE), "framework": "f", "name": "n",
        "submitter": "alice", "sites": [], "datasets": [], "min_sites": 1, "config": {},
        "state": "in_review", "reason": "", "created": None, "started": None, "ended": None,
        "request": digest, **changes,
    }  # fmt: skip


def envelope(body: bytes) -> bytes:
    found = re.search(rb'name="request"\r\n\r\n([^\r]+)\r\n', body)
    assert found
    return b64decode(found[1])


def test_a_request_is_signed_for_a_week_in_the_profiles_name(client):
    signed = sign_submission(client.profile, ARCHIVE, config={"lr": 5.0})
    key = client.profile.signing_key().public_key().public_bytes_raw()
    found = verify_request(
        signed.envelope, submitters={"alice": key}, gateways={}, now=time.time()
    ).request
    assert (found.project, found.submitter, found.sites) == ("demo", "alice", ())
    assert found.bundle == digest_of(ARCHIVE)
    assert found.expires - found.created == 7 * 86400


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ('submitter = "alice"', InvalidConfig, "does not say who submits"),
        ('signer = "signer.key"', InvalidConfig, "names no signing key"),
        ('project = "demo"', InvalidMessage, "which project"),
    ],
)
def test_a_profile_that_cannot_sign_says_how_to_mend_it(profile, line, error, words):
    text = profile.read_text()
    assert line in text
    profile.write_text(text.replace(line, ""))
    with pytest.raises(error, match=words) as caught:
        sign_submission(load_profile(profile), ARCHIVE)
    assert caught.value.remedy


def test_a_signing_key_that_others_can_read_is_refused(client):
    client.profile.signer.chmod(0o644)
    with pytest.raises(InvalidConfig, match="open to others"):
        sign_submission(client.profile, ARCHIVE)


@pytest.mark.parametrize("change", [{"request": "sha256:0"}, {"bundle": "sha256:0"}])
def test_a_gateway_that_took_something_else_is_noticed(client, gateway, change):
    signed = sign_submission(client.profile, ARCHIVE)
    gateway.says(201, job(signed.digest, **change))
    with pytest.raises(SealBroken, match="not the job that was submitted"):
        client.send(signed)


def test_a_door_that_asks_again_sends_what_it_signed_before(client, gateway, profile):
    """After a lost answer or a restart the same key must bring the same envelope."""
    submitter = ProfileSubmitter(client, profile)
    gateway.says(409, {"code": "unavailable", "what": "away", "why": "", "remedy": ""})
    with pytest.raises(Exception, match="away"):
        submitter.submit(ARCHIVE, Order(), name="n", key="k")
    first = envelope(gateway.bodies[-1])
    gateway.says(201, job(read_unverified(first).digest))
    again = ProfileSubmitter(client, profile)
    assert again.submit(ARCHIVE, Order(), name="n", key="k").id == JOB
    assert envelope(gateway.bodies[-1]) == first
    for order, name in ((Order(sites=("a",)), "n"), (Order(), "other")):
        gateway.says(409, {"code": "unavailable", "what": "away", "why": "", "remedy": ""})
        with pytest.raises(Exception, match="away"):
            again.submit(ARCHIVE, order, name=name, key="k")
        assert envelope(gateway.bodies[-1]) != first


def test_init_prints_what_the_project_must_say(gateway, fedgate, tmp_path):
    (tmp_path / "token").write_text("fgt_secret\n")
    gateway.says(200, gateway.authority.certificate_pem, "application/x-pem-file")
    gateway.says(200, {"name": "alice", "scopes": [], "projects": None})
    made = tmp_path / "new" / "profile.toml"
    ran = fedgate(
        "profile", "init", "--api", gateway.url, "--ca-fingerprint", gateway.authority.fingerprint,
        "--token-file", tmp_path / "token", "--project", "demo", "--profile", made, "-f", "json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    loaded = load_profile(made)
    assert loaded.submitter == "alice"
    assert loaded.signer.stat().st_mode & 0o777 == 0o600
    import tomllib

    lines = tomllib.loads(ran.json["project_lines"])
    project = ProjectConfig.model_validate({"name": "demo", "members": {}, **lines})
    key = loaded.signing_key().public_key().public_bytes_raw()
    assert project.submitter_keys() == {"alice": key}
    assert len(project.recipients) == 1


def test_a_profile_of_before_gets_a_signer(profile, gateway, fedgate):
    text = profile.read_text()
    for line in ('submitter = "alice"\n', 'signer = "signer.key"\n'):
        text = text.replace(line, "")
    profile.write_text(text)
    gateway.says(200, {"name": "alice", "scopes": [], "projects": None})
    ran = fedgate("profile", "signer", "--profile", profile)
    assert ran.code == 0, ran.err
    assert "[submitters.alice]" in ran.out
    assert load_profile(profile).submitter == "alice"
    again = fedgate("profile", "signer", "--profile", profile)
    assert again.out == ran.out


def test_durations_are_written_as_people_do():
    assert [parse_duration(t) for t in ("90s", "30m", "12h", "7d")] == [90, 1800, 43200, 604800]
    for text in ("", "7", "d", "-1d", "0d", "1w", "1.5h", "9" * 20 + "d"):
        with pytest.raises(InvalidMessage):
            parse_duration(text)
