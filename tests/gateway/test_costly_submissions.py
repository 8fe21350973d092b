"""A submission that takes all the time or memory it can get is refused, and nobody else waits."""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from fedgate.bundle import MIB, BundleTree, pack_files
from fedgate.manifest import Manifest
from fedgate_gateway.api.app import create_app
from fedgate_gateway.config import GatewayConfig, InspectionLimits
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.state import GatewayState, open_gateway_state
from fedgate_gateway.inspection import InspectionProcess, Inspector, work

GOOD = pack_files({"say": b"nothing"})
LIMITS = InspectionLimits(cpu_seconds=1, memory_bytes=64 * MIB)


class SlowAdapter:
    """As a reader of configuration with an expression that takes for ever: it holds the GIL."""

    requires = ()

    def inspect(self, tree: BundleTree) -> Manifest:
        match tree.text("say"):
            case "expression":
                re.match(r"(a+)+b", "a" * 60)
            case "memory":
                bytearray(4 << 30)
        return Manifest("small", "quiet")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[InspectionProcess]:
    monkeypatch.setattr(work, "recognise", lambda _tree, *, allowed: SlowAdapter())
    made = InspectionProcess.forked(())
    yield made
    made.close()


@pytest.fixture
def state(
    data: Path, make_config: Callable[[Path], GatewayConfig], process: InspectionProcess
) -> Iterator[GatewayState]:
    opened = open_gateway_state(make_config(data), inspector=Inspector((), LIMITS, process))
    yield opened
    opened.close()


@pytest.fixture
def submit_to(signed: Callable[..., bytes], token: Any) -> Callable[..., Any]:
    def run(client: TestClient, archive: bytes, submitter: str = "alice") -> Any:
        request = base64.b64encode(signed(archive, submitter=submitter)).decode()
        return client.post(
            "/api/v1/jobs",
            headers=token(Scope.JOBS_WRITE, name=submitter),
            data={"request": request},
            files={"bundle": ("b.zip", archive)},
        )

    return run


def test_everybody_is_answered_while_a_costly_submission_is_read(
    state: GatewayState, process: InspectionProcess, submit_to: Callable[..., Any]
) -> None:
    costly = pack_files({"say": b"expression"})
    with TestClient(create_app(state)) as client, ThreadPoolExecutor(1) as apart:
        refused = apart.submit(submit_to, client, costly, "mallory")
        begun = threading.Event()
        while not psutil.Process(process.pid).children():
            assert not begun.wait(0.005)
            assert not refused.done()
        for _ in range(20):
            assert client.get("/healthz").status_code == 200
        assert submit_to(client, GOOD).status_code == 201
        assert not refused.done()  # so all of them were answered meanwhile
        problem = refused.result()
    assert (problem.status_code, problem.json()["code"]) == (422, "inspection-failed")
    assert problem.json()["why"] == "reading it takes more than 1 s of processor time"
    assert problem.json()["remedy"]


def test_a_submission_that_takes_gigabytes_is_refused(
    state: GatewayState, submit_to: Callable[..., Any]
) -> None:
    with TestClient(create_app(state)) as client:
        problem = submit_to(client, pack_files({"say": b"memory"}))
        assert (problem.status_code, problem.json()["code"]) == (422, "inspection-failed")
        assert "64 MiB of memory" in problem.json()["why"]
        assert submit_to(client, GOOD).status_code == 201
