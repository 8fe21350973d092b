"""The out-of-tree adapter runs in real child processes, found through its entry point alone."""

from pathlib import Path

import numpy as np
import pytest

from fedgate_gateway.child.local import LocalSite, run_locally

WORKLOAD = Path(__file__).parent / "workload"
pytestmark = pytest.mark.e2e


def sites(tmp_path: Path, *targets: float, **more: dict) -> list[LocalSite]:
    found = []
    for i, target in enumerate(targets, 1):
        path = tmp_path / f"numbers-{i}.txt"
        path.write_text(str(target))
        found.append(LocalSite(f"site-{i}", datasets={"numbers": path}, **more.get(f"s{i}", {})))
    return found


def test_three_rounds_average_what_two_sites_learn(tmp_path: Path) -> None:
    run = run_locally(WORKLOAD, sites(tmp_path, 2.0, 4.0), tmp_path / "work")
    assert run.error is None, run.log
    assert run.model is not None
    assert np.allclose(run.model["w"].numpy(), 3.0 * (1 - 0.5**3))
    assert run.model["steps"].numpy() == 3
    assert sorted(run.metrics_by_round) == [1, 2, 3]
    assert {(r.number, str(r.kind)) for r in run.rounds} == {
        (n, k) for n in (1, 2, 3) for k in ("train", "evaluate")
    }


def test_a_model_too_large_for_a_datagram_crosses_in_shared_memory(tmp_path: Path) -> None:
    run = run_locally(
        WORKLOAD, sites(tmp_path, 1.0, 1.0), tmp_path / "w", config={"size": 1_000_000}
    )
    assert run.error is None, run.log
    assert run.model is not None
    assert run.model["w"].numpy().shape == (1_000_000,)
    assert np.all(run.model["w"].numpy() == np.float32(1 - 0.5**3))


def test_the_job_goes_on_without_a_site_whose_worker_dies(tmp_path: Path) -> None:
    run = run_locally(
        WORKLOAD, sites(tmp_path, 2.0, 4.0, s2={"dies_at": 3}), tmp_path / "work", timeout=60
    )
    assert run.error is None, run.log
    assert any("site-2" in r.failed for r in run.rounds)
    assert run.rounds[-1].sites == ("site-1",)


def test_a_job_in_which_every_site_fails_is_a_failed_job(tmp_path: Path) -> None:
    run = run_locally(
        WORKLOAD, sites(tmp_path, 1.0), tmp_path / "w", config={"fail": "no data today"}
    )
    assert run.error is not None
    assert "no site returned a model" in str(run.error)
    assert "no data today" in run.site_logs["site-1"]


def test_results_that_stay_sealed_until_they_are_read_give_the_same_model(tmp_path: Path) -> None:
    def run(name: str, *, keep_sealed: bool) -> bytes:
        done = run_locally(
            WORKLOAD, sites(tmp_path, 2.0, 4.0, 9.0), tmp_path / name,
            config={"size": 1_000_000}, keep_sealed=keep_sealed,
        )  # fmt: skip
        assert done.error is None, done.log
        assert done.model is not None
        return done.model.to_bytes()

    assert run("kept", keep_sealed=True) == run("held", keep_sealed=False)
