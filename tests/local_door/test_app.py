"""A door on the submitter's machine: bundles stay here to be signed, strangers get nowhere."""

from __future__ import annotations

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from fedgate.front_door import FrontDoor, Order
from fedgate_gateway.local_door.app import LocalDoor
from fedgate_gateway.local_door.desk import LocalDesk


class Door(FrontDoor):
    framework = "plain"
    prefix = "/v1/plain"
    uploads = ("/v1/plain/start",)

    def number(self, job: str) -> int:
        return 7

    def app(self, desk):
        async def answer(scope, receive, send):
            await PlainTextResponse("here")(scope, receive, send)

        return answer

    def connect(self, connection):
        return ()


class Gateway:
    """What was forwarded; it answers, or is away."""

    def __init__(self) -> None:
        self.asked: list[httpx.Request] = []
        self.away = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            raise httpx.ConnectError("nobody")
        self.asked.append(request)
        return httpx.Response(
            418, content=b"there", headers={"Content-Type": "text/x", "Set-Cookie": "a=b"}
        )


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def call(gateway):
    desk = LocalDesk(None, None, secret="s3cret", order=Order(), number=lambda _: 7)
    http = httpx.AsyncClient(
        transport=httpx.MockTransport(gateway), base_url="https://gateway:1",
        headers={"Authorization": "Bearer token"},
    )  # fmt: skip
    client = TestClient(LocalDoor(Door(), desk, http))

    def run(path, bearer="s3cret", content=b"x"):
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/protobuf"}
        return client.post(path, headers=headers, content=content)

    return run


def test_a_bundle_is_never_forwarded(call, gateway):
    assert call("/v1/plain/start").text == "here"
    assert gateway.asked == []


def test_the_rest_goes_to_the_gateway_with_the_profiles_token(call, gateway):
    answer = call("/v1/plain/list")
    assert (answer.status_code, answer.text) == (418, "there")
    assert answer.headers["content-type"] == "text/x"
    assert "set-cookie" not in answer.headers
    (asked,) = gateway.asked
    assert (asked.url.path, asked.content) == ("/v1/plain/list", b"x")
    assert asked.headers["authorization"] == "Bearer token"
    assert asked.headers["host"] == "gateway:1"


@pytest.mark.parametrize("bearer", ["", "wrong", "token", "s3cret "[:-2]])
def test_a_stranger_on_this_machine_reaches_nothing_with_the_token(call, gateway, bearer):
    assert call("/v1/plain/list", bearer).text == "here"
    assert gateway.asked == []


@pytest.mark.parametrize("path", ["/", "/api/v1/jobs", "/v1/plainer/list", "/v1/plain/../../api"])
def test_nothing_but_the_doors_own_paths_is_forwarded(call, gateway, path):
    assert call(path).status_code == 404
    assert gateway.asked == []


def test_a_large_request_and_a_gateway_that_is_away_are_answers(call, gateway):
    assert call("/v1/plain/list", content=bytes(70_000)).status_code == 413
    gateway.away = True
    assert "cannot be reached" in call("/v1/plain/list").json()["detail"]
    assert gateway.asked == []
