"""Requests that no `flwr` makes: each has its own answer, and costs the gateway nothing."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator
from inspect import getsource
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fedgate.errors import PluginUnavailable
from fedgate_flower.control import wire_pb2 as pb
from fedgate_flower.control.door import FlowerFrontDoor
from fedgate_gateway.api.app import create_app
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.state import GatewayState, open_gateway_state

PROTOBUF = {"Content-Type": "application/protobuf"}
CLOSED = ["start-run", "list-runs", "stream-logs", "stop-run", "pull-artifacts", "list-nodes",
          "no-such-call"]  # fmt: skip
LIMIT = 200_000  # bundle_bytes of this gateway


@pytest.fixture(scope="module")
def state(
    first_start: Path, tmp_path_factory: pytest.TempPathFactory, make_config, inspector
) -> Iterator[GatewayState]:
    """One for all: what is refused changes nothing, and the next request finds out if it did."""
    data = shutil.copytree(first_start, tmp_path_factory.mktemp("shared") / "data")
    opened = open_gateway_state(make_config(data), inspector=inspector)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(state: GatewayState, open_client) -> Iterator[TestClient]:
    yield from open_client(state)


def bearer(text: str) -> dict[str, str]:
    return {**PROTOBUF, "Authorization": f"Bearer {text}"}


@pytest.mark.parametrize("call", CLOSED)
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer fgt_wrong", "Bearer fgt_" + "A" * 43, "Bearer fga_x",
     "Bearer fga_" + "A" * 43, "Bearer fgr_" + "A" * 43, "Basic Zmd0OmE=", "Bearer " + "x" * 9000,
     "Bearer ' OR 1=1 --"],
)  # fmt: skip
def test_a_wrong_token_is_turned_away_with_flower_s_challenge(client, call, authorization):
    headers = {**PROTOBUF, "Authorization": authorization} if authorization else PROTOBUF
    answer = client.post(f"/v1/control/{call}", content=b"", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"  # flwr compares it as a whole
    assert set(answer.json()) == {"detail"}


def test_a_stranger_s_body_is_not_read(client):
    sent = []

    async def receive():
        raise AssertionError("the body was asked for")

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "https", "path": "/v1/control/start-run", "raw_path": b"/v1/control/start-run",
        "query_string": b"", "root_path": "", "client": ("192.0.2.1", 1), "server": ("x", 1),
        "headers": [(b"content-type", b"application/protobuf"), (b"content-length", b"100000"),
                    (b"authorization", b"Bearer fgt_" + b"A" * 43)],
    }  # fmt: skip
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("call", [c for c in CLOSED if c not in ("list-nodes", "no-such-call")])
@pytest.mark.parametrize(
    "body",
    [
        b"\xff" * 64,
        b"\x0a\xff\xff\xff\xff\x07",  # a field of 2 GB, of which nothing comes
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # one of 2**63 bytes
        b"\x08" + b"\x80" * 20,  # a number that never ends
        b"\x0b" * 200,  # groups inside of groups
        b"\x12\x01",
    ],
)
def test_a_malformed_message_is_refused(flwr, call, body):
    answer = flwr.call(call, body)
    assert answer.status_code == 400
    assert "the body is not a" in answer.json()["detail"]


def test_text_that_is_not_utf_8_is_refused(flwr):
    assert flwr.call("start-run", b"\x22\x02\xff\xfe").status_code == 400  # app_spec


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("call", "size"), [("list-runs", 70_000), ("list-runs", 500_000), ("stop-run", 70_000),
                       ("get-auth-tokens", 70_000), ("start-run", LIMIT + 140_000),
                       ("start-run", LIMIT + 10_000_000)],
)  # fmt: skip
def test_a_body_that_is_too_large_is_refused(flwr, call, size, declared):
    def pieces():
        for _ in range(0, size, 10_000):
            yield b"x" * 10_000

    content = b"x" * size if declared else pieces()
    answer = flwr.raw(f"/v1/control/{call}", content, **bearer(flwr.bearer))
    assert answer.status_code == 413
    assert "the limit here is" in answer.json()["detail"]


def test_one_large_piece_is_refused_without_an_incident(flwr, caplog):
    answer = flwr.raw("/v1/control/stop-run", iter([b"x" * 5_000_000]), **bearer(flwr.bearer))
    assert answer.status_code == 413
    assert not [record for record in caplog.records if "incident" in record.getMessage()]


def test_an_app_as_large_as_the_gateway_takes_is_read(flwr, ask):
    status = flwr.call("start-run", ask(b"x" * (LIMIT - 1))).status_code
    assert status == 422  # it is no ZIP; its size is no problem


def test_a_bundle_beyond_the_limit_is_refused_by_its_size(flwr, ask):
    answer = flwr.call("start-run", ask(b"x" * (LIMIT + 1000)))
    assert (answer.status_code, answer.json()["code"]) == (413, 14)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "multipart/form-data"])
def test_another_content_type_is_refused(flwr, kind):
    answer = flwr.raw("/v1/control/list-runs", b"", **{**bearer(flwr.bearer), "Content-Type": kind})
    assert answer.status_code == 400


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_post_is_answered(client, flwr, method):
    answer = client.request(method, "/v1/control/list-runs", headers=bearer(flwr.bearer))
    assert answer.status_code == 405


def test_calls_that_mean_nothing_here_say_where_to_go(flwr):
    hints = {
        "list-nodes": "fedgate site list",
        "register-node": "fedgate site enroll",
        "create-federation": "a project of this gateway",
        "list-invitations": "a project of this gateway",
        "configure-simulation-federation": "nothing to simulate",
        "start-automation": "one by one",
        "list-connectors": "ServerApp and a ClientApp",
        "add-app": "flwr run . NAME",
        "stream-run-events": "flwr log",
    }
    for call, hint in hints.items():
        answer = flwr.call(call, b"")
        assert answer.status_code == 501
        assert answer.json()["code"] == 10
        assert hint in answer.json()["detail"]


def test_every_call_of_flower_has_an_answer_of_its_own(flwr):
    """Whatever flwr can call is translated, or refused with a sentence; nothing is an accident."""
    from flwr.supercore.control import ControlHttpClient

    calls = set(re.findall(r'"/v1/control/([a-z-]+)"', getsource(ControlHttpClient)))
    assert {"start-run", "list-runs", "get-login-details"} < calls
    for call in calls:
        answer = flwr.call(call, b"")
        assert answer.status_code in (200, 400, 401, 404, 422, 501), call
        if answer.status_code == 501:
            detail = answer.json()["detail"]
            assert detail.startswith(f"a Fedgate gateway does not offer '{call}'"), call


@pytest.mark.parametrize("call", ["", "/", "START-RUN", "start-run/", "../start-run", "a" * 500,
                                  "<script>", "%00", "x%1b%5b2J"])  # fmt: skip
def test_a_strange_name_is_not_repeated(flwr, call):
    answer = flwr.raw(f"/v1/control/{call}", b"", **bearer(flwr.bearer))
    assert answer.status_code in (404, 405, 501)
    assert "<script>" not in answer.text
    assert "\x1b" not in answer.text


def test_a_mistake_of_ours_is_a_number_and_no_trace(flwr, state, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(state.jobs, "list", broken)
    answer = flwr.call("list-runs", pb.ListRunsRequest())
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    number = answer.json()["detail"].rpartition(" ")[2]
    assert any(number in record.getMessage() for record in caplog.records)


def test_metrics_name_the_door_and_never_a_path(client, flwr, token):
    flwr.call("list-runs", pb.ListRunsRequest())
    flwr.raw("/v1/control/secret-in-a-path", b"", **bearer(flwr.bearer))
    scraper = token(Scope.METRICS_READ, projects=None)
    text = client.get("/metrics", headers={"Authorization": f"Bearer {scraper}"}).text
    assert 'route="/v1/control/…"' in text
    assert "secret-in-a-path" not in text


# -- which doors are open ------------------------------------------------------------------------


def test_a_door_that_is_not_named_stays_shut(data, make_config):
    state = open_gateway_state(make_config(data, front_doors=()))
    try:
        with TestClient(create_app(state)) as client:
            answer = client.post("/v1/control/list-runs", headers=PROTOBUF)
            assert answer.status_code == 404
    finally:
        state.close()


def test_a_door_that_is_not_installed_stops_the_start(data, make_config):
    state = open_gateway_state(make_config(data, front_doors=("nobody-s",)))
    try:
        with pytest.raises(PluginUnavailable, match="nobody-s"):
            create_app(state)
    finally:
        state.close()


@pytest.mark.parametrize(
    "prefix", ["/api", "/api/v1/jobs", "/login/device", "/metrics", "/outputs"]
)
def test_a_door_cannot_stand_in_the_way_of_the_gateway_itself(
    data, make_config, monkeypatch, prefix
):
    monkeypatch.setattr(FlowerFrontDoor, "prefix", prefix)
    state = open_gateway_state(make_config(data))
    try:
        with pytest.raises(PluginUnavailable, match="is taken"):
            create_app(state)
    finally:
        state.close()
