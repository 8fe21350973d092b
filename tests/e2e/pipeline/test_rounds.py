"""The log says what happened in each round: all of it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import pack_files

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
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


def test_after_a_stop_only_rounds_that_took_place_are_in_the_log(bench: Any) -> None:
    job = bench.submit(workload(train="time.sleep(0.1)", rounds=500))
    bench.until(lambda: len(rounds(bench, job)) >= 3)
    bench.federation.client.cancel(job)
    ended = bench.wait(job)
    assert ended["state"] == "cancelled"
    bench.until(lambda: not bench.children("enclave-1"))
    finished, broken = rounds(bench, job), rounds(bench, job, "round.abandoned")
    assert 3 <= len(finished) < 500
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


#: A workload that goes on with the first answer of its second round, and evaluates nothing.
_HASTY = """
from fedgate_plain import adapter
real = adapter._round
def once(federation, kind, number, model, config):
    if kind == "evaluate":
        return ()
    if number == 1:
        return real(federation, kind, number, model, config)
    tasks = [adapter.Task(s.name, s.name, kind, number, model=model, config=config)
             for s in federation.sites()]
    return [next(iter(federation.dispatch(tasks, ordered=False)))]
adapter._round = once"""


def test_with_all_sites_but_one_cut_off_after_a_round_no_model_leaves(
    bench: Any, tmp_path: Path
) -> None:
    """It would be that site's own update, although three sites have contributed to the job."""
    go_on = tmp_path / "go-on"
    wait = f"while number and not os.path.exists({str(go_on)!r}): time.sleep(0.02)"
    training = "print('in round', number + 1, flush=True)"
    job = bench.submit(workload(initial=_HASTY, train=f"{training}\n{wait}"))
    state = bench.federation.layout.state
    logs = [state(site) / "logs" / f"{job}.log" for site in bench.federation.sites]
    bench.until(lambda: all(p.exists() and "in round 2" in p.read_text() for p in logs), 60)
    bench.order(cut=["site-2", "site-3"])
    try:
        go_on.touch()
        ended = bench.wait(job, 60)
    finally:
        bench.order()
    assert ended["state"] == "failed", ended
    assert "it can hold: 1, release.minimum_cohort of the project: 2" in ended["reason"]
    assert {o["kind"] for o in bench.federation.client.outputs(job)} <= {"log"}
    assert bench.audit(job, "released") == []
    (first,) = rounds(bench, job)
    (second,) = bench.until(lambda: rounds(bench, job, "round.abandoned"))
    assert sorted(first["answered"]) == ["site-1", "site-2", "site-3"]
    assert second["answered"] == ["site-1"]
