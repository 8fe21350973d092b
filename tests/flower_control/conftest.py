"""A real gateway with the Flower front door open, and an app small enough for a unit test."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fedgate.bundle import pack_files
from fedgate_flower.control import wire_pb2 as pb
from fedgate_gateway.api.app import create_app
from fedgate_gateway.config import GatewayConfig, GatewayLimits, GatewayProject, Listen
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import JobRecord, SubmitOptions
from fedgate_gateway.control.state import GatewayState, open_gateway_state
from fedgate_gateway.inspection import Inspector
from fedgate_gateway.store.base import utc_now

BUNDLE_LIMIT = 200_000
HOST = "gateway.example"
PYPROJECT = b"""
[project]
name = "mean"
version = "1.2.3"
dependencies = ["flwr>=1.41,<2"]
[tool.flwr.app]
publisher = "ada"
[tool.flwr.app.components]
serverapp = "mean.app:server"
clientapp = "mean.app:client"
[tool.flwr.app.config]
rounds = 3
lr = 0.1
"""
WRITERS = (Scope.JOBS_READ, Scope.JOBS_WRITE)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    def pass_(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


def gateway_config(data: Path, **changes) -> GatewayConfig:
    fields = {
        "data": data,
        "api": Listen(port=8443),
        "link": Listen(port=8444),
        "hostnames": (HOST, "localhost"),
        "projects": {
            "health": GatewayProject(sites=("site-1", "site-2"), datasets=("patients",)),
            "other": GatewayProject(sites=("site-9",)),
        },
        "limits": GatewayLimits(bundle_bytes=BUNDLE_LIMIT, unpacked_bytes=1_000_000),
    }
    return GatewayConfig(**{**fields, **changes})


@pytest.fixture(scope="session")
def make_config() -> Callable[..., GatewayConfig]:
    return gateway_config


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("gateway") / "data"
    open_gateway_state(gateway_config(data)).close()
    return data


@pytest.fixture(scope="session")
def inspector() -> Iterator[Inspector]:
    """One process reads the bundles of all these gateways."""
    made = Inspector(("flower", "flare"))
    yield made
    made.close()


@pytest.fixture
def data(first_start: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_start, tmp_path / "data")


@pytest.fixture
def state(data: Path, inspector: Inspector) -> Iterator[GatewayState]:
    opened = open_gateway_state(gateway_config(data), inspector=inspector)
    yield opened
    opened.close()


def client_of(state: GatewayState) -> Iterator[TestClient]:
    app = create_app(state)
    with TestClient(app, base_url=f"https://{HOST}:8443", raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def open_client() -> Callable[[GatewayState], Iterator[TestClient]]:
    """For a gateway that the tests of a file share."""
    return client_of


@pytest.fixture
def client(state: GatewayState) -> Iterator[TestClient]:
    yield from client_of(state)


@pytest.fixture
def clock(client: TestClient) -> Clock:
    """Set for everything in the office that looks at a clock."""
    office, clock = client.app.state.office, Clock()
    for part in (office.logins, office.login, office.tickets):
        part._clock = clock
    return clock


@pytest.fixture
def token(state: GatewayState) -> Callable[..., str]:
    """A fresh token of the API."""

    def make(*scopes: Scope, name: str = "alice", projects=("health",), **options) -> str:
        text, _ = state.tokens.create(name, scopes or WRITERS, projects=projects, **options)
        return text

    return make


@pytest.fixture
def archive() -> bytes:
    return pack_files({"pyproject.toml": PYPROJECT, "mean/app.py": b"server = client = None\n"})


@dataclass
class Flwr:
    """Calls as the ``flwr`` command makes them."""

    client: TestClient
    bearer: str

    def call(self, name: str, request, answer: type | None = None, **headers: str):
        """The answer as a message, or the response when ``answer`` is None."""
        sent = {"Content-Type": "application/protobuf", **headers}
        if self.bearer:
            sent["Authorization"] = f"Bearer {self.bearer}"
        content = request if isinstance(request, bytes) else request.SerializeToString()
        response = self.client.post(f"/v1/control/{name}", content=content, headers=sent)
        if answer is None:
            return response
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/protobuf"
        return answer.FromString(response.content)

    def start(self, archive: bytes, **fields) -> pb.StartRunResponse:
        return self.call("start-run", start_request(archive, **fields), pb.StartRunResponse)

    def list(self, **fields) -> pb.ListRunsResponse:
        return self.call("list-runs", pb.ListRunsRequest(**fields), pb.ListRunsResponse)

    def raw(self, path: str, content, **headers: str):
        """A POST that no ``flwr`` would make."""
        return self.client.post(path, content=content, headers=headers)

    def run(self, run_id: int) -> pb.Run:
        return self.list(run_id=run_id).run_dict[run_id]

    def log(self, run_id: int, after: float = 0.0) -> list[pb.StreamLogsResponse]:
        asked = pb.StreamLogsRequest(run_id=run_id, after_timestamp=after)
        response = self.call("stream-logs", asked)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/flower-protobuf-stream"
        return frames(response.content)


def frames(content: bytes) -> list[pb.StreamLogsResponse]:
    found = []
    while content:
        size = int.from_bytes(content[:4], "big")
        assert len(content) >= 4 + size
        found.append(pb.StreamLogsResponse.FromString(content[4 : 4 + size]))
        content = content[4 + size :]
    return found


def start_request(archive: bytes, **fields) -> pb.StartRunRequest:
    fab = pb.Fab(hash_str=hashlib.sha256(archive).hexdigest(), content=archive)
    return pb.StartRunRequest(**{"fab": fab, **fields})


@pytest.fixture
def flwr(client: TestClient, token: Callable[..., str]) -> Flwr:
    """Alice's command."""
    return Flwr(client, token())


@pytest.fixture
def flwr_of(client: TestClient) -> Callable[[str], Flwr]:
    return lambda bearer: Flwr(client, bearer)


@pytest.fixture
def submit(state: GatewayState, archive: bytes, signed) -> Callable[..., JobRecord]:
    """Submit the app by the API, and not by the command."""

    def run(bearer: str, bundle: bytes = archive, **options) -> JobRecord:
        principal = state.tokens.authenticate(bearer)
        request = signed(bundle, submitter=principal.name, **options)
        return asyncio.run(state.jobs.submit(bundle, SubmitOptions(request), principal))

    return run


@pytest.fixture
def ask() -> Callable[..., pb.StartRunRequest]:
    """What ``flwr run`` sends."""
    return start_request
