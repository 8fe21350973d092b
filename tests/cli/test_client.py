"""The client over real TLS: whom it believes, what it repeats, and how it goes on."""

from __future__ import annotations

import pytest

from fedgate.errors import Denied, InvalidConfig, InvalidMessage, NotFound, Unavailable
from fedgate_gateway.cli import client as client_module
from fedgate_gateway.cli import patience
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.profile import load_profile
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.pki import Authority

JOB = "job-0vv41dq75y29"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(client_module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def client(gateway, tmp_path):
    with Client(load_profile(gateway.profile(tmp_path / "profile"))) as made:
        yield made


def test_the_token_is_sent(client, gateway):
    gateway.says(200, {"peers": []})
    assert client.sites() == []
    ((request, headers),) = gateway.asked
    assert request == "GET /api/v1/sites"
    assert headers["Authorization"] == "Bearer fgt_secret"


def test_a_gateway_with_another_ca_never_sees_the_token(gateway, tmp_path):
    stranger = Authority.open(tmp_path / "another-ca")
    profile = load_profile(gateway.profile(tmp_path / "p", authority=stranger))
    with Client(profile) as client, pytest.raises(Unavailable) as raised:
        client.sites()
    assert "is not the gateway of this profile" in str(raised.value)
    assert gateway.asked == []


def test_a_plain_http_address_is_refused_before_the_token_is_sent(gateway, tmp_path):
    path = gateway.profile(tmp_path / "p")
    path.write_text(path.read_text().replace("https://", "http://"))
    with pytest.raises(InvalidConfig, match="https only"):
        Client(load_profile(path))


def test_a_token_that_others_can_read_is_refused(gateway, tmp_path):
    path = gateway.profile(tmp_path / "p")
    (tmp_path / "p" / "token").chmod(0o644)
    with pytest.raises(InvalidConfig, match="open to others"):
        Client(load_profile(path))


def test_a_problem_document_becomes_the_error_it_tells_of(client, gateway):
    told = {"code": "denied", "what": "policy says no", "why": "because", "remedy": "ask"}
    gateway.says(403, told, "application/problem+json")
    with pytest.raises(Denied) as raised:
        client.job(JOB)
    assert (raised.value.what, raised.value.why, raised.value.remedy) == (
        "policy says no", "because", "ask",
    )  # fmt: skip


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"[" * 100_000, b"\xff", b""])
def test_an_answer_that_is_none_is_an_error_of_ours(client, gateway, body):
    gateway.says(200, body)
    with pytest.raises(Unavailable, match="no proper answer"):
        client.job(JOB)


def test_an_endless_answer_is_cut(client, gateway, monkeypatch):
    monkeypatch.setattr(client_module, "_MAX_ANSWER", 1000)
    gateway.says(200, b" " * 5000)
    with pytest.raises(InvalidMessage, match="too large"):
        client.job(JOB)


def test_a_submission_is_repeated_under_the_same_key(client, gateway):
    gateway.says(503, {})
    signed = sign_submission(client.profile, b"zip")
    gateway.says(201, {"id": JOB, "bundle": signed.request.bundle, "request": signed.digest})
    assert client.send(signed)["id"] == JOB
    keys = {headers["Idempotency-Key"] for _, headers in gateway.asked}
    assert len(gateway.asked) == 2
    assert len(keys) == 1


def test_making_a_token_is_never_repeated(client, gateway):
    gateway.says(503, {})
    with pytest.raises(Unavailable):
        client.create_token("x", ["admin"])
    assert len(gateway.asked) == 1


def test_a_gateway_that_is_not_there_is_unavailable(gateway, tmp_path):
    path = gateway.profile(tmp_path / "p")
    port = gateway.url.rsplit(":", 1)[1]
    path.write_text(path.read_text().replace(f":{port}", ":1"))
    with (
        Client(load_profile(path)) as client,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        client.sites()


@pytest.mark.parametrize("name", ["../tokens", "a/b", "", "..", "x?y=1", "é", "a%2fb"])
def test_a_name_cannot_become_another_path(client, gateway, name):
    with pytest.raises(InvalidMessage):
        client.job(name)
    assert gateway.asked == []


def event(number: int, kind: str, data: str) -> bytes:
    return f"id: {number}\nevent: {kind}\ndata: {data}\n\n".encode()


def test_a_broken_stream_goes_on_after_the_last_event(client, gateway):
    gateway.streams(event(1, "state", '{"state":"running"}'), event(2, "log", "{}"), breaks=True)
    gateway.streams(b"id: 3\nevent: cut", breaks=True)
    gateway.streams(event(3, "state", '{"state":"succeeded"}'))
    assert [found.id for found in client.events(JOB)] == [1, 2, 3]
    assert [h.get("Last-Event-ID") for _, h in gateway.asked] == [None, "2", "2"]


def test_a_stream_that_ends_with_the_job_is_not_asked_for_again(client, gateway):
    gateway.streams(event(1, "log", "{}"))
    gateway.says(200, {"job": {"state": "failed"}})
    assert [found.id for found in client.events(JOB)] == [1]


def test_an_outage_is_told_once_and_outlived(client, gateway):
    """A gateway that restarts takes seconds, and whoever watches wants to know of the job."""
    gateway.streams(event(1, "state", '{"state":"running"}'), breaks=True)
    for _ in range(8):
        gateway.says(503, {"code": "unavailable", "what": "the database does not answer"})
    gateway.streams(breaks=True)
    gateway.streams(event(2, "state", '{"state":"succeeded"}'))
    said: list[str] = []
    assert [found.id for found in client.events(JOB, say=said.append)] == [1, 2]
    assert said == [
        "the gateway does not answer; the job goes on, and is watched again then",
        "the gateway answers again",
    ]


def test_a_stream_that_never_comes_gives_up_and_says_that_the_job_goes_on(
    client, gateway, monkeypatch
):
    monkeypatch.setattr(patience, "_SECONDS", 0.1)
    for _ in range(20):
        gateway.says(503, {"code": "unavailable", "what": "the database does not answer"})
    with pytest.raises(Unavailable) as raised:
        list(client.events(JOB))
    assert f"the job goes on: `fedgate job watch {JOB}`" in raised.value.remedy


def test_a_job_that_does_not_exist_is_not_waited_for(client, gateway):
    gateway.says(404, {"code": "not-found", "what": "there is no job"})
    with pytest.raises(NotFound):
        list(client.events(JOB))
    assert len(gateway.asked) == 1
