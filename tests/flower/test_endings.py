"""Apps that go wrong, in a whole federation: a clear state, a clear message, nobody else hurt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fedgate_flower.fab import build
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.files import recipient_key
from fedgate_gateway.dev.leftovers import leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]
APPS = Path(__file__).parent / "apps"
_FINAL = {"succeeded", "failed", "denied", "cancelled", "expired"}
_JOB_SECONDS = 12.0
_LOG_BYTES = 100_000

#: What the app does -> parts of the sentence that its submitter gets.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "block the server": (
        "the job ran longer than it may",
        f"{_JOB_SECONDS:g} s",
        "job_seconds",
    ),
    "block the sites": ("all clients failed in round 1", "no result within 2 s"),
    "wait for nodes": ("waited 1 s for more nodes", "2 of the job's sites are online"),
    "raise": ("the ServerApp raised an exception", "RuntimeError: no luck today"),
    "send what may not leave": (
        "all clients failed in round 1",
        "site-1: the site's egress guard: tensor 'arrays/w' of the result holds NaN",
        "site-2: the site's egress guard: the result's opaque part is too large",
        "guard.body_bytes",
    ),
    "invent a message type": ("the ServerApp raised an exception", "gossip"),
    "call an unknown action": (
        "all clients failed",
        "site-1: the ClientApp raised ValueError",
    ),
    "kill the sites": ("0 of at least 1 are left", "exit code 3"),
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
        self._archive = build(APPS / "trouble")
        self._recipient = recipient_key(federation.layout).public_raw
        self.jobs = {does: self.start(does) for does in [*ENDINGS, GIGABYTE, "nothing"]}

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
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("endings")
    federation = Federation(folder / "f", sites=2, examples=False, adapters=("flower",))
    with federation:
        enclave = federation.layout.enclave
        limits = f"\n[runtime.limits]\nlog_bytes = {_LOG_BYTES}\n"
        enclave.write_text(f"job_seconds = {_JOB_SECONDS}\n{enclave.read_text()}{limits}")
        federation.restart("enclave-1")
        yield Runs(federation)
    deadline = time.monotonic() + 15
    while (left := leftovers(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == {}


@pytest.mark.parametrize("does", ENDINGS)
def test_an_app_that_goes_wrong_fails_with_what_and_why(runs: Runs, does: str) -> None:
    told = runs.end(runs.jobs[does])
    assert told["state"] == "failed"
    for words in ENDINGS[does]:
        assert words in told["reason"], told["reason"]


def test_an_app_that_prints_a_gigabyte_succeeds_with_the_beginning_of_its_log(runs: Runs) -> None:
    job = runs.jobs[GIGABYTE]
    assert runs.end(job)["state"] == "succeeded", runs.end(job)
    (log,) = [o for o in runs.federation.client.outputs(job) if o["kind"] == "log"]
    assert _LOG_BYTES <= log["size"] < 2 * _LOG_BYTES


def test_an_app_that_behaves_ends_well_among_them_and_after_them(runs: Runs) -> None:
    for job in (runs.jobs["nothing"], runs.start("nothing")):
        assert runs.end(job)["state"] == "succeeded", runs.end(job)
    alive = [program.alive for program in runs.federation.programs.values()]
    assert alive == [True] * 4
