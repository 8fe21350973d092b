"""One job for each thing a FLARE job can be; what each computes is checked against plain numpy.

``FEDGATE_SIMULATOR=1`` also runs FLARE's simulator for each deterministic one (quarter of a minute
each) and compares to the last bit; see ``test_simulator.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fedgate_gateway.sandbox.choose import best_available

pytestmark = pytest.mark.e2e
START = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
SITES = ("site-1", "site-2")
SWARM = (
    "aux_communication:__do_task__",
    "aux_communication:cwf.end_wf.*",
    "aux_communication:cwf.share_result.swarm_controller",
    "aux_communication:swarm_req_to_submit_learn_result",
    "download_service__:*",
    "peer_context:cwf.status_reports",
)


def seed(site: str) -> int:
    return zlib.crc32(site.encode()) % 1000


def steps(site: str) -> int:
    return 7 + seed(site) % 13


def averaged(values: dict[str, np.ndarray]) -> np.ndarray:
    total = sum(steps(site) for site in values)
    return sum(values[site] * (steps(site) / total) for site in values)


def test_swarm_learning_and_cross_site_evaluation_between_sites(run: Callable):
    done = run("swarm", frames=SWARM)
    assert done.error is None
    assert done.refused_frames == []
    weights = START
    for _ in range(3):
        weights = averaged({s: weights + np.cos(weights * seed(s)) / 3 for s in SITES})
    released = done.model.numpy()["numpy_key"]
    np.testing.assert_allclose(released, weights, rtol=1e-12)
    scores = json.loads((done.artifacts / "cross_site_val/cross_val_results.json").read_text())
    assert set(scores) == set(SITES)
    assert {"site-1", "site-2"} <= set(scores["site-1"])


def test_frames_between_sites_are_counted_for_each_site_name_and_direction(run_once: Callable):
    done = run_once("ring", frames=SWARM)
    assert done.error is None
    totals = done.frames.totals
    task = "aux_communication:__do_task__"
    assert {(s, task, d) for s in SITES for d in ("in", "out")} <= set(totals)
    assert all(frames > 0 and size > 0 for frames, size in totals.values())
    # What one site sent, the other received (addresses of the relay differ); the last may come
    # when the job is over.
    late = totals["site-1", task, "out"][0] - totals["site-2", task, "in"][0]
    assert late in {0, 1}


def test_a_relay_from_site_to_site_without_the_server(run_once: Callable):
    done = run_once("ring", frames=SWARM)
    assert done.error is None
    weights = START.copy()
    for site in SITES * 2:
        weights = weights + np.cos(weights * seed(site)) / 3
    assert done.model.numpy()["numpy_key"].tobytes() == weights.tobytes()


@pytest.mark.parametrize("sandbox", ["process", "bubblewrap"])
def test_a_trainer_in_a_process_of_its_own(run: Callable, run_once: Callable, sandbox: str):
    """Over loopback, which a sandbox's own network namespace has; no opaque byte leaves."""
    done = run("external", sandbox=sandbox)
    assert done.error is None
    assert done.frames.totals == {}
    assert done.refused_frames == []
    inside = run_once("fedavg")
    assert done.model.to_bytes() == inside.model.to_bytes()


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Starts a site's own trainer, outside any sandbox; gives the folder that it attaches in."""
    started: list[subprocess.Popen[bytes]] = []

    def start(site: str) -> Path:
        folder, profile = tmp_path / f"trainers of {site}", tmp_path / f"{site}.json"
        folder.mkdir(mode=0o700)
        profile.write_text(json.dumps({
            "schema_version": 1, "execution_mode": "attach", "attach_id": "by-hand",
            "site_name": site, "rendezvous_dir": str(folder),
        }))  # fmt: skip
        environment = os.environ | {"NVFLARE_CLIENT_API_BOOTSTRAP": str(profile)}
        script = Path(__file__).parent / "jobs/external/app/custom/client.py"
        started.append(subprocess.Popen([sys.executable, script], env=environment))
        return folder

    yield start
    for trainer in started:
        trainer.kill()
        trainer.wait()


def test_a_trainer_that_attaches_from_outside_the_sandbox(
    run: Callable, run_once: Callable, attach: Callable
):
    """By files in a folder that the site's owner names; the job has no code at the sites."""
    done = run("attached", trainers={s: attach(s) for s in SITES}, sandbox=best_available())
    assert done.error is None
    assert done.frames.totals == {}
    assert done.refused_frames == []
    inside = run_once("fedavg")
    assert done.model.to_bytes() == inside.model.to_bytes()


def test_a_model_learner_between_filters_on_both_sides(run: Callable):
    done = run("learner")
    assert done.error is None
    weights = START.astype(np.float32)  # as NPModelPersistor keeps them
    for _ in range(2):
        seen = weights * 1.1 * 1.3
        changes = {s: np.cos(seen * seed(s)) / 3 * 0.7 * 0.9 for s in SITES}
        weights = (weights + averaged(changes)).astype(np.float32)
    np.testing.assert_allclose(done.model.numpy()["numpy_key"], weights, rtol=1e-4)
    assert list(done.model) == ["numpy_key"], "the site's filter removed the other array"


def test_statistics_of_all_sites_together(run: Callable):
    done = run("statistics")
    assert done.error is None
    found = json.loads((done.artifacts / "statistics/stats.json").read_text())["x"]
    together = np.concatenate([np.arange(20) * 1.0, np.arange(20) * 2.0])
    assert found["count"]["Global"]["train"] == 40
    assert found["sum"]["Global"]["train"] == together.sum()
    assert found["mean"]["Global"]["train"] == pytest.approx(together.mean(), abs=1e-4)
    counts = [row[2] for row in found["histogram"]["Global"]["train"]]
    assert counts == np.histogram(together, bins=4, range=(0, 40))[0].tolist()


def test_global_model_evaluation_and_a_broadcast_operator(run: Callable):
    done = run("evaluation")
    assert done.error is None
    assert (done.artifacts / "answers.txt").read_text().split("\n") == ["site-1 3", "site-2 6"]
    scores = json.loads((done.artifacts / "cross_site_val/cross_val_results.json").read_text())
    assert set(scores) == set(SITES)
    assert {r.kind for r in done.rounds} == {"train", "evaluate", "custom"}


def test_different_apps_for_different_sites_in_yaml_hocon_and_json(run: Callable):
    done = run("apps")
    assert done.error is None
    expected = np.array([[0.1, 2.0], [3.0, 4.0]]) + 2 * 5.5  # site-1 adds 1, site-2 adds 10
    np.testing.assert_allclose(done.model.numpy()["numpy_key"], expected, rtol=1e-6)


def test_collab_functions_are_called_across_the_federation(run: Callable):
    done = run("collab", frames=("collab:*", "download_service__:*"))
    assert done.error is None
    assert "weights at the end: [3.0, 3.0, 3.0, 3.0]" in done.log


def test_metrics_stream_to_a_receiver(run: Callable):
    done = run("metrics", frames=("aux_communication:fed.event",))
    assert done.error is None
    lines = (done.artifacts / "metrics.txt").read_text().splitlines()
    assert sorted(set(lines)) == sorted(
        f"{site} loss {1 / (n + 1)}" for site in SITES for n in range(5)
    )
    assert len(lines) == 20


def test_files_and_logs_stream_to_the_server(run: Callable):
    done = run("files", frames=("aux_communication:ObjectStreamer.*",))
    assert done.error is None
    for site in SITES:  # to the end of the run, although the server's workflow was over before
        log = (done.artifacts / site / "log.txt").read_text()
        assert "got task assignment: name=train" in log
        assert "ABOUT_TO_END_RUN fired" in log
    for site in SITES:
        assert (done.artifacts / f"note-of-{site}.bin").read_bytes() == site.encode() * 50_000


@pytest.mark.parametrize("offload", [False, True])
def test_torch_tensors_cross_as_they_are(run: Callable, tmp_path: Path, offload: bool):
    torch = pytest.importorskip("torch")
    job = shutil.copytree(Path(__file__).parent / "jobs/tensors", tmp_path / "job")
    server = job / "app/config/config_fed_server.json"
    config = json.loads(server.read_text())
    config["workflows"][0]["args"]["enable_tensor_disk_offload"] = offload
    server.write_text(json.dumps(config))
    done = run(job)
    assert done.error is None
    weights = (torch.arange(6.0).reshape(2, 3) / 7).clone()
    for _ in range(2):
        weights = (torch.cos(weights) + torch.cos(weights * 2)) / 2
    np.testing.assert_allclose(done.model.numpy()["fc.weight"], weights.numpy(), rtol=1e-5)


def test_split_learning_between_the_sites_that_hold_features_and_labels(
    run: Callable, monkeypatch: pytest.MonkeyPatch
):
    done = run("split", frames=("aux_communication:_splitnn_task_*", "download_service__:*"))
    assert done.error is None
    assert done.refused_frames == []
    monkeypatch.syspath_prepend(Path(__file__).parent / "jobs/split/app/custom")
    from arithmetic import FEATURES, LABELS, loss, lower_step, upward

    weights = np.array([[0.5, -0.25], [0.125, 1.0], [-0.75, 0.375]], np.float32)
    for _ in range(5):
        value, gradient = loss(upward(FEATURES, weights), LABELS)
        weights = lower_step(FEATURES, weights, gradient)
    assert done.rounds[-1].metrics == {"loss": value}


def test_what_a_site_does_not_allow_stays_there(run: Callable):
    """The manifest names the frames; a site that was asked anyway lets none of them out."""
    done = run("ring", timeout=15)
    assert done.error is not None
    assert done.frames.totals == {}
    assert done.refused_frames
