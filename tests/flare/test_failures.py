"""Sites that die or fail: the job goes on where it may, and else ends with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from fedgate.errors import WorkloadFailed

pytestmark = pytest.mark.e2e
FAILS = {"TRAINER_FAILS": "1"}


def test_a_job_goes_on_without_a_dead_site_in_every_later_workflow(run: Callable):
    done = run("classic", sites=3, dies={"site-2": 2})
    assert done.error is None
    later = done.rounds[2:]
    # SAG, cyclic, and of cross-site evaluation: models handed in, and each of three evaluated.
    assert [r.number for r in later] == [3, 4, 5, 6, 6, 7, 8]
    assert all(set(r.sites) == {"site-1", "site-3"} for r in later)
    assert all(r.seconds < 50 for r in done.rounds)  # nobody waited for it


@pytest.mark.parametrize("job", ["classic", "fedavg"])
def test_a_job_never_finishes_below_its_minimum_of_sites(run: Callable, job: str):
    done = run(job, sites=2, dies={"site-2": 2})
    assert isinstance(done.error, WorkloadFailed)
    assert "site-2 is gone" in str(done.error)
    assert "min_clients is 2" in str(done.error)
    assert sum("site-1" in r.sites for r in done.rounds) == 2


def test_a_relay_that_breaks_off_is_a_failed_job(run: Callable):
    """FLARE logs a line, runs the next workflow and returns normally."""
    done = run("classic", sites=3, dies={"site-2": 5})
    assert isinstance(done.error, WorkloadFailed), (done.rounds, done.log)
    assert "train_in_turn" in str(done.error)
    assert "site-2" in str(done.error)


def test_what_an_executors_constructor_says_stays_in_the_sites_log(run: Callable):
    done = run("hasty", env={"site-1": {"TRAINER_BROKEN": "Jane Doe"}, "site-2": {}})
    assert done.error is not None
    assert "cannot be built" in str(done.error)
    assert "Jane Doe" not in str(done.error)
    assert "trainer.py" not in str(done.error)
    assert "Jane Doe" not in done.log
    assert "Jane Doe" in done.site_logs["site-1"]


@pytest.mark.parametrize("job", ["classic", "fedavg"])
def test_all_sites_failing_fails_the_job_and_what_they_said_is_in_its_log(run: Callable, job: str):
    done = run(job, env={"site-1": FAILS, "site-2": FAILS})
    assert isinstance(done.error, WorkloadFailed)
    assert "'train' of round 1: site-1: " in str(done.error)
    assert "the job's log has what sites said" in str(done.error)
    assert "unusable" not in str(done.error)  # the gateway sees this text
    assert "unusable" not in str(done.rounds[0].failed)
    assert "RuntimeError: this site's data is unusable" in done.log
    assert set(done.rounds[0].failed) == {"site-1", "site-2"}
    assert done.model is None


def test_all_sites_failing_is_a_failed_job_where_flare_returns_normally(run: Callable):
    """This job ignores every error, aggregates nothing and reports success."""
    done = run("resilient", env={"site-1": FAILS, "site-2": FAILS})
    assert isinstance(done.error, WorkloadFailed)
    assert "every site failed" in str(done.error)


def test_one_failing_site_is_left_to_the_workflow(run: Callable):
    done = run("resilient", sites=3, env={"site-2": FAILS})
    assert done.error is None
    assert [set(r.failed) for r in done.rounds] == [{"site-2"}] * 2


def test_a_job_that_is_stopped_takes_its_trainers_along(run: Callable, tmp_path):
    import psutil

    slow = {"TRAINER_SLEEPS": "60"}
    env, dies = {"site-1": slow, "site-2": slow}, {"site-2": 1}
    done = run("external", env=env, dies=dies, limits={"stop_seconds": 1})
    assert isinstance(done.error, WorkloadFailed)
    assert "launching external trainer" in done.site_logs["site-1"]

    def left() -> list[psutil.Process]:
        return [
            p
            for p in psutil.process_iter(["cwd"])
            if str(p.info["cwd"]).startswith(str(tmp_path)) and p.status() != psutil.STATUS_ZOMBIE
        ]

    deadline = time.monotonic() + 60
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left() == []


def test_a_job_that_cannot_be_built_fails_with_the_reason(run: Callable, broken_job):
    done = run(broken_job)
    assert isinstance(done.error, WorkloadFailed)
    assert "no_such_module" in str(done.error)


def test_a_site_cannot_answer_in_the_name_of_another(run: Callable):
    """Job code at site-1 forges identity, task and return address of everything it sends."""
    honest = run("liar", sites=2)
    forged = run("liar", sites=2, env={"site-1": {"FORGE": "name_of_another"}})
    assert honest.error is None
    assert forged.error is None
    assert forged.model.to_bytes() == honest.model.to_bytes()
    assert (forged.artifacts / "contributors.txt").read_text() == "site-1 site-2 site-1 site-2"


@pytest.mark.parametrize(
    "garbage",
    [
        "code_that_is_none",
        "properties_that_are_none",
        "weights_that_are_none",
        "headers_that_are_none",
    ],
)
def test_garbage_from_one_site_hurts_that_site_alone(
    run: Callable, run_once: Callable, garbage: str
):
    done = run("liar", sites=3, env={"site-1": {"FORGE": garbage}})
    without = run_once("liar", sites=3, env={"site-1": FAILS})
    assert done.error is None
    assert without.error is None
    assert done.model.to_bytes() == without.model.to_bytes()
