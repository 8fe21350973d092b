"""What a job's meta says about its life at the gateway, and in FLARE's words."""

from __future__ import annotations

import json

import pytest

from fedgate.job import Job, JobState
from fedgate.side_door import Happening
from fedgate_flare.front_door.job_log import JobLogs
from fedgate_flare.front_door.told import Told
from fedgate_flare.run_status import STATUS

JOB = Job("job-1", "demo", "sha256:0", "flare", "fedavg", "me", ("site-1", "site-2"))


def happened(kind: str, **data: str) -> Happening:
    return Happening(1, kind, data, "")


def test_reviews_and_states_become_lines_that_flare_shows():
    told = Told.start(JOB)
    for happening in (
        happened("state", state="in_review"),
        happened("site", site="site-1", decision="accepted", reason="because"),
        happened("site", site="site-2", decision="denied"),
        happened("state", state="denied", reason="site-2: no"),
    ):
        told = told.after(happening)
    assert told.to_meta()["job_deploy_detail"] == [
        "gateway: denied: site-2: no", "site-1: accepted: because", "site-2: denied",
    ]  # fmt: skip


def test_it_is_read_again_as_it_was_written():
    told = Told.start(JOB).after(happened("site", site="site-1", decision="accepted"))
    assert Told.of(json.loads(json.dumps(told.to_meta()))) == told
    assert Told.of({"name": "a job that was not handed in"}) == Told()


@pytest.mark.parametrize(
    "happening",
    [
        happened("state", state="exploded"),
        happened("state"),
        happened("site", site="site-9", decision="accepted"),
        happened("round"),
        happened("tomorrow", state="failed"),
    ],
)
def test_what_a_gateway_should_not_say_changes_nothing(happening):
    assert Told.start(JOB).after(happening) == Told.start(JOB)


def test_every_state_has_a_status_and_only_final_ones_are_final_for_flare():
    assert set(STATUS) == set(JobState)
    for state, status in STATUS.items():
        assert status.value.startswith("FINISHED:") == state.final


def test_a_log_has_the_time_of_what_happened_in_front(tmp_path):
    logs = JobLogs(tmp_path)
    assert logs.read("a") is None
    logs.start("a")
    logs.tell("a", "running", at="2026-11-24T08:39:49.5+00:00")
    assert logs.read("a") == "2026-11-24 08:39:49 - fedgate - running\n"
    with pytest.raises(ValueError, match="cannot be a job"):
        logs.read("../a")
