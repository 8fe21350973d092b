"""The log says what happened in each round: all of it, nothing else, and nothing in a workload's
own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fedgate.bundle import pack_files

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
SECRET = "patient-4711-has-it"
_WORK = """
import os, time
import numpy as np

def initial(config):
    {initial}
    return {{"w": np.zeros(3, np.float32)}}

def train(model, data, config):
    site = next(p for p in os.getcwd().split("/") if p.startswith("site-"))
    number = int(model["w"][0])
    {train}
    return {{"w": model["w"] + 1}}, 1, {{}}

def evaluate(model, data, config):
    return 1, {{}}
"""


def workload(initial: str = "pass", train: str = "pass", rounds: int = 2) -> bytes:
    """Lines that run at the enclave before the first round, and at each ``site`` in each of the
    rounds, whose ``number`` counts from 0.
    """
    toml = f'name = "rounds"\nmodule = "work.py"\nrounds = {rounds}\n'
    code = _WORK.format(
        initial=initial.replace("\n", "\n    "), train=train.replace("\n", "\n    ")
    )
    return pack_files({"plain.toml": toml.encode(), "work.py": code.encode()})


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any]) -> Iterator[Any]:
    return make_bench(sites=3, gateway="hostile_gateway")


def rounds(bench: Any, job: str, kind: str = "round.finished") -> list[dict[str, Any]]:
    return [entry["data"] for entry in bench.audit(job, kind)]


#: A coordinator whose ids of tasks and numbers of rounds are a message.
_CHATTY = f"""
from fedgate_plain import adapter
real = adapter.Task
def task(id, site, kind, number, **more):
    return real("{SECRET}-" * 10 + id, site, kind, 47110000 + number, **more)
adapter.Task = task
"""


def test_ids_and_numbers_that_a_workload_chooses_are_read_nowhere(bench: Any) -> None:
    job = bench.submit(workload(initial=_CHATTY))
    assert bench.wait(job)["state"] == "succeeded"
    told = rounds(bench, job)
    assert [(r["round"], r["task"]) for r in told] == [
        (1, "train"), (1, "evaluate"), (2, "train"), (2, "evaluate"),
    ]  # fmt: skip
    letters = (bench.folder / "recorded-letters").read_bytes()
    assert job.encode() in letters
    state = bench.federation.layout.state("gateway")
    files = {p.name: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    for name, data in {"letters": letters, **files}.items():
        assert SECRET.encode() not in data, name
        for number in (1, 2):
            assert str(47110000 + number).encode() not in data, name
            assert (47110000 + number).to_bytes(4, "big") not in data, name


def test_after_a_stop_only_rounds_that_took_place_are_in_the_log(bench: Any) -> None:
    job = bench.submit(workload(train="time.sleep(0.1)", rounds=50))
    bench.until(lambda: len(rounds(bench, job)) >= 3)
    bench.federation.client.cancel(job)
    ended = bench.wait(job)
    assert ended["state"] == "cancelled"
    bench.until(lambda: not bench.children("enclave-1"))
    finished, broken = rounds(bench, job), rounds(bench, job, "round.abandoned")
    assert 3 <= len(finished) < 20
    for told in finished:
        assert sorted(told["answered"]) == told["sites"] == ["site-1", "site-2", "site-3"]
        assert told["received_bytes"] > 0
    assert len(broken) <= 1
    for told in broken:
        assert told["abandoned"] or told["failed"]
    assert rounds(bench, job, "round.unsent") == []


def test_a_stopped_enclave_leaves_no_round_that_nobody_ran(bench: Any) -> None:
    job = bench.submit(workload(train="print('training', flush=True); time.sleep(20)", rounds=3))
    bench.training(job)
    bench.federation.programs["enclave-1"].stop()
    try:
        (broken,) = bench.until(lambda: rounds(bench, job, "round.abandoned"))
        assert sorted(broken["abandoned"]) == ["site-1", "site-2", "site-3"]
        assert (broken["answered"], broken["received_bytes"]) == ([], 0)
        assert rounds(bench, job) == []
    finally:
        bench.federation.programs["enclave-1"].start()
    assert bench.wait(job)["state"] == "failed"
