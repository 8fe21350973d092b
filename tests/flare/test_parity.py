"""What a job computes through Fedgate is what FLARE computes without it, to the last bit.

Two sites: a sum of two terms is the same in either order, and the simulator keeps none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def simulated(simulator: Callable) -> Callable[[str], Path]:
    """Both simulators run while our own runs do."""
    running = {job: simulator(job) for job in ("classic", "fedavg")}
    return lambda job: running[job]()


def test_rounds_carry_the_sites_metrics_and_the_names_of_arrays(run_once: Callable):
    ours = run_once("classic")
    train = [r for r in ours.rounds if r.kind == "train"]
    assert [r.number for r in train] == [1, 2, 3, 4, 5]
    assert all(set(r.sites) == {"site-1", "site-2"} and not r.failed for r in train)
    assert all(set(r.metrics) == {"level"} for r in train)
    assert list(ours.model) == ["numpy_key"]


def test_results_reach_the_workflow_in_the_order_of_the_roster(run: Callable):
    """Three terms: the sum differs in its last bits when they come in another order."""
    slow = {"TRAINER_DELAY": "0.2"}
    first = run("classic", sites=3, env={"site-1": slow})
    second = run("classic", sites=3, env={"site-3": slow})
    assert first.error is None
    assert second.error is None
    for model in ("sag.npy", "cyclic.npy"):
        assert (first.artifacts / "models" / model).read_bytes() == (
            second.artifacts / "models" / model
        ).read_bytes()


@pytest.mark.timeout(300)
def test_scatter_and_gather_then_cyclic_then_cross_site_evaluation(
    run_once: Callable, simulated: Callable[[str], Path]
):
    ours = run_once("classic")
    native = simulated("classic")
    assert ours.error is None
    for model in ("sag.npy", "cyclic.npy"):
        assert (ours.artifacts / "models" / model).read_bytes() == (
            native / "models" / model
        ).read_bytes()
    results = "cross_site_val/cross_val_results.json"
    scores = json.loads((ours.artifacts / results).read_text())
    assert scores == json.loads((native / results).read_text())
    assert set(scores["site-1"]) == {"SRV_sag", "site-1", "site-2"}
    last = np.load(native / "models" / "cyclic.npy")  # the last workflow that saves a model
    assert ours.model.numpy()["numpy_key"].tobytes() == last.tobytes()


@pytest.mark.timeout(300)
def test_fedavg_with_a_client_api_script(run: Callable, simulated: Callable[[str], Path]):
    ours = run("fedavg")
    assert ours.error is None
    native = np.load(simulated("fedavg") / "models" / "server.npy")
    released = ours.model.numpy()["numpy_key"]
    assert released.dtype == native.dtype
    assert released.tobytes() == native.tobytes()
    assert sorted(ours.metrics_by_round) == [1, 2, 3]
    assert ours.metrics_by_round[1] == {"level": pytest.approx(0.5)}
