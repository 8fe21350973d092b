"""Apps that go wrong, in a whole federation: a clear state, a clear message, nobody else hurt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate_flower.fab import build
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.files import recipient_key

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
APP = Path(__file__).parent / "apps" / "trouble"
_FINAL = {"succeeded", "failed", "denied", "cancelled", "expired"}

#: What the app does -> what its submitter reads in the opened log.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "block the sites": ("all clients failed in round 1", "no result within 2 s"),
    "wait for nodes": ("waited 1 s for more nodes", "2 of the job's sites are online"),
    "raise": ("the ServerApp raised an exception", "RuntimeError: no luck today"),
    "send what may not leave": (
        "all clients failed in round 1",
        "site-1: the site's egress guard: the result holds NaN or infinity",
        "site-2: the site's egress guard: the result's opaque part is too large",
        "guard.train.body_bytes",
    ),
    "invent a message type": ("the ServerApp raised an exception", "gossip"),
    "call an unknown action": ("all clients failed", "site-1: the ClientApp raised ValueError"),
    "kill the sites": ("all clients failed in round 1", "exit code 3"),
    "block the server": ("the job ran longer than it may", "after 25 s", "raise job_seconds"),
}
#: The same of what everybody may hear; the rest is the workload's failure.
TOLD: Mapping[str, str] = {
    "block the server": "its enclave ends every job after 25 s",
    "kill the sites": "site-1: the worker's process ended without a word",
}
GIGABYTE = "print a gigabyte"
_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "wait for nodes": {"fedgate.node-wait-seconds": 1.0},
    "block the sites": {"task_seconds": 2.0},
}


class Runs:
    """Jobs of a federation of two sites; whatever goes wrong goes wrong at the same time."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self._archive = build(APP)
        self._recipient = recipient_key(federation.layout).public_raw
        self.jobs = {does: self.start(does) for does in [*reversed(ENDINGS), GIGABYTE, "nothing"]}

    def start(self, does: str) -> str:
        config = dict(_SETTINGS.get(does, {}))
        told = self.federation.client.submit(
            self._archive, recipient=self._recipient,
            task_seconds=config.pop("task_seconds", None), config={"does": does, **config},
        )  # fmt: skip
        return str(told["id"])

    def end(self, job: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (told := self.federation.client.job(job)["job"])["state"] not in _FINAL:
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        return dict(told)


@pytest.fixture(scope="module")
def runs(federation: Federation) -> Runs:
    return Runs(federation)


@pytest.mark.parametrize("does", ENDINGS)
def test_an_app_that_goes_wrong_fails_with_what_and_why(
    runs: Runs, does: str, opened_log: Any
) -> None:
    told = runs.end(runs.jobs[does])
    assert told["state"] == "failed"
    assert TOLD.get(does, "the workload's code failed") in told["reason"]
    log = opened_log(runs.federation, runs.jobs[does])
    for words in ENDINGS[does]:
        assert words in log, log


def test_an_app_that_prints_a_gigabyte_succeeds_with_the_beginning_of_its_log(
    runs: Runs, tight_limits: SimpleNamespace
) -> None:
    job = runs.jobs[GIGABYTE]
    assert runs.end(job)["state"] == "succeeded", runs.end(job)
    (log,) = [o for o in runs.federation.client.outputs(job) if o["kind"] == "log"]
    assert tight_limits.log_bytes <= log["size"] < 2 * tight_limits.log_bytes


def test_an_app_that_behaves_ends_well_among_them_and_after_them(runs: Runs) -> None:
    for job in (runs.jobs["nothing"], runs.start("nothing")):
        assert runs.end(job)["state"] == "succeeded", runs.end(job)
    alive = [program.alive for program in runs.federation.programs.values()]
    assert alive == [True] * 4
