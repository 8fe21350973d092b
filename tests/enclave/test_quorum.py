"""A job with too few sites stops, or waits for them within a bound, as its project says."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from fedgate.model import Model
from fedgate.task import Failure, Result, Task, TaskKind
from fedgate_gateway.config import Release
from fedgate_gateway.enclave.quorum import Quorum

MODEL = Model.from_numpy({"w": np.ones(3, np.float32)}).to_bytes()


def missed(left: list[int], seconds: float = 0.0, **rules: Any) -> list[bool]:
    """How often the job had to stop while so many sites were left, after each number."""
    calls: list[None] = []

    async def go() -> list[bool]:
        quorum = Quorum(Release(**rules), 2, lambda: calls.append(None))
        told = []
        for number in left:
            quorum.now(number)
            await asyncio.sleep(seconds)
            told.append(bool(calls))
        quorum.close()
        await asyncio.sleep(seconds)
        return [*told, bool(calls)]

    return asyncio.run(go())


def test_without_another_rule_a_job_stops_at_once() -> None:
    assert missed([3, 2, 1]) == [False, False, True, True]


def test_a_job_that_waits_goes_on_when_enough_are_back_and_stops_when_the_time_is_over() -> None:
    wait = {"below_cohort": "wait", "cohort_wait_seconds": 3600}
    assert missed([3, 1, 0, 2], **wait) == [False] * 5
    wait["cohort_wait_seconds"] = 0.001
    assert missed([3, 1], 0.2, **wait) == [False, True, True]


@pytest.fixture
def stage(new_stage: Any) -> Any:
    return new_stage(resends=True)


def failures(stage: Any) -> list[Failure | None]:
    return [None if r.error is None else r.error.failure for r in stage.child.results()]


@pytest.mark.parametrize("new_session", [True, False])
def test_tasks_of_a_site_that_is_waited_for_stand_still_and_are_sent_again(
    stage: Any, new_session: bool
) -> None:
    model = stage.part(MODEL)
    stage.task(Task("t1", "a", TaskKind.TRAIN, 1), model)
    stage.conductor.wait_for("a")
    stage.clock.advance(500)
    stage.task(Task("t2", "a", TaskKind.TRAIN, 1), model)
    assert stage.child.sent == []  # the coordinator has heard of nothing
    assert [t.id for t in stage.tasks] == ["t1"]
    if new_session:
        stage.conductor.lose("a", "a new session", returning=True)
    stage.conductor.regain("a")
    again = ["t1", "t2"] if new_session else ["t2"]  # a session that goes on still has the first
    assert [t.id for t in stage.tasks] == ["t1", *again]
    for task in ("t1", "t2"):
        assert stage.answer("a", Result(task, "a"), MODEL)
    assert model.holds == 0
    stage.conductor.close()
    (told,) = stage.rounds
    assert (told.tasks, told.answers, told.answered) == (2, 2, ("a",))


def test_a_site_that_is_not_waited_for_any_more_is_lost_like_any_other(stage: Any) -> None:
    model = stage.part(MODEL)
    stage.task(Task("t1", "a", TaskKind.TRAIN, 1), model)
    stage.conductor.wait_for("a")
    for site in stage.conductor.away:
        stage.conductor.lose(site, "enough without it")
    assert failures(stage) == [Failure.UNAVAILABLE]
    assert stage.child.kinds() == ["online", "result"]
    assert (stage.conductor.away, model.holds) == ((), 0)


def test_a_task_that_was_sent_again_has_its_whole_time_and_no_more(stage: Any) -> None:
    stage.task(Task("t1", "a", TaskKind.TRAIN, 1))
    stage.clock.advance(90)
    stage.conductor.wait_for("a")
    stage.conductor.regain("a")
    stage.clock.advance(90)
    assert failures(stage) == []
    stage.clock.advance(11)
    assert failures(stage) == [Failure.TIMEOUT]


def test_what_is_kept_for_a_second_time_is_let_go_at_the_end(stage: Any) -> None:
    model = stage.part(MODEL)
    stage.task(Task("t1", "a", TaskKind.TRAIN, 1), model)
    assert model.holds == 1
    stage.conductor.close()
    assert model.holds == 0
