"""To the last bit what FLARE's own simulator computes, for every deterministic job of ours.

Slow (the simulator takes a quarter of a minute for each), so only where ``FEDGATE_SIMULATOR`` is
set; ``test_parity.py`` holds the two that always run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not os.environ.get("FEDGATE_SIMULATOR"), reason="set FEDGATE_SIMULATOR=1"),
]
FRAMES = ("aux_communication:*", "download_service__:*", "peer_context:*", "collab:*")


@pytest.mark.parametrize("job", ["external", "learner", "metrics", "resilient"])
def test_the_servers_model(run: Callable, simulated: Callable[[str], Path], job: str):
    ours = run(job, frames=FRAMES)
    assert ours.error is None
    saved = sorted(p.name for p in (simulated(job) / "models").glob("*.npy"))
    assert saved
    for name in saved:
        native = np.load(simulated(job) / "models" / name)
        assert np.load(ours.artifacts / "models" / name).tobytes() == native.tobytes()


@pytest.mark.parametrize("job", ["swarm", "ring"])
def test_the_sites_model(run: Callable, simulated: Callable[[str], Path], job: str):
    ours = run(job, frames=FRAMES)
    assert ours.error is None
    native = simulated(job).parents[1]
    found = [np.load(p).tobytes() for p in native.glob("site-*/simulate_job/final.npy")]
    assert ours.model.numpy()["numpy_key"].tobytes() in found


def test_statistics(run: Callable, simulated: Callable[[str], Path]):
    ours = run("statistics")
    path = "statistics/stats.json"
    assert json.loads((ours.artifacts / path).read_text()) == json.loads(
        (simulated("statistics") / path).read_text()
    )


def test_scores(run: Callable, simulated: Callable[[str], Path]):
    ours = run("evaluation")
    path = "cross_site_val/cross_val_results.json"
    assert json.loads((ours.artifacts / path).read_text()) == json.loads(
        (simulated("evaluation") / path).read_text()
    )
