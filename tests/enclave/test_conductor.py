"""Every task gets exactly one result, in time, from its own site, whatever the sites do."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import FedgateError, InvalidMessage, InvalidModel
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError, TaskKind
from fedgate_gateway.child import notes
from fedgate_gateway.enclave import conductor as module

MODEL = Model.from_numpy({"w": np.ones(3, np.float32)}).to_bytes()


def train(id: str, site: str = "a", round: int = 1, kind: TaskKind = TaskKind.TRAIN) -> Task:
    return Task(id, site, kind, round)


def failures(stage: Any) -> list[Failure | None]:
    return [None if r.error is None else r.error.failure for r in stage.child.results()]


def test_a_task_goes_to_its_site_and_its_result_comes_back(stage: Any) -> None:
    stage.task(train("t"))
    assert [t.site for t in stage.tasks] == ["a"]
    assert stage.answer("a", Result("t", "a", metrics={"loss": 1.0}), MODEL)
    kind, note, model, _ = stage.child.sent[0]
    assert (kind, model) == ("result", MODEL)
    assert notes.read_result(note, None).metrics == {"loss": 1.0}


def test_a_task_without_an_answer_fails_at_its_deadline_and_its_late_result_is_dropped(
    stage: Any,
) -> None:
    stage.task(train("t"), deadline=5)
    stage.clock.advance(4.9)
    assert failures(stage) == []
    stage.clock.advance(0.2)
    assert failures(stage) == [Failure.TIMEOUT]
    assert not stage.answer("a", Result("t", "a"), MODEL)
    assert failures(stage) == [Failure.TIMEOUT]


@pytest.mark.parametrize("deadline", [None, "soon", -1, math.nan, math.inf, 1e9, [], 101])
def test_no_deadline_of_a_coordinator_exceeds_the_enclaves(stage: Any, deadline: object) -> None:
    stage.task(train("t"), deadline=deadline)
    stage.clock.advance(100.1)
    assert failures(stage) == [Failure.TIMEOUT]


def test_a_deadline_of_nothing_is_over_at_once(stage: Any) -> None:
    stage.task(train("t"), deadline=0)
    stage.clock.advance(0)
    assert failures(stage) == [Failure.TIMEOUT]


def test_a_second_result_of_a_task_is_dropped(stage: Any) -> None:
    stage.task(train("t"))
    assert stage.answer("a", Result("t", "a"))
    assert not stage.answer("a", Result("t", "a"))
    assert len(stage.child.results()) == 1


def test_a_site_cannot_answer_for_another(stage: Any) -> None:
    stage.task(train("t", "a"))
    with pytest.raises(InvalidMessage, match="in the name of"):
        stage.answer("b", Result("t", "a"))
    with pytest.raises(InvalidMessage, match="a task of a"):
        stage.answer("b", Result("t", "b"))
    assert stage.child.results() == []
    assert stage.answer("a", Result("t", "a"))


@pytest.mark.parametrize("bad", [b"", b"garbage", MODEL[:-1], MODEL + b"x"])
def test_bytes_that_are_no_model_never_reach_the_coordinator(stage: Any, bad: bytes) -> None:
    stage.task(train("t"))
    with pytest.raises(InvalidModel):
        stage.answer("a", Result("t", "a"), bad)
    assert stage.child.sent == []
    stage.conductor.lose("a", "its session ended")
    assert failures(stage) == [Failure.UNAVAILABLE]


def test_a_note_that_does_not_parse_never_reaches_the_coordinator(stage: Any) -> None:
    stage.task(train("t"))
    with pytest.raises(InvalidMessage):
        stage.conductor.deliver("a", b"garbage", None, 7)
    assert stage.child.sent == []


def test_tasks_of_a_lost_site_fail_now_and_later_ones_at_once_until_it_is_back(
    stage: Any,
) -> None:
    stage.task(train("t1"))
    stage.task(train("t2", "b"))
    stage.conductor.lose("a", "gone")
    assert [(r.task, r.error.reason) for r in stage.child.results()] == [("t1", "gone")]
    stage.task(train("t3"))
    assert failures(stage) == [Failure.UNAVAILABLE] * 2
    stage.conductor.regain("a")
    stage.task(train("t4"))
    assert [t.id for t in stage.tasks] == ["t1", "t2", "t4"]
    online = [f for k, _, _, f in stage.child.sent if k == "online"]
    gone, back = online
    assert gone == {"site": "a", "online": False, "reason": "gone"}
    assert back == {"site": "a", "online": True}


def test_losing_and_regaining_is_told_once(stage: Any) -> None:
    for _ in range(3):
        stage.conductor.lose("a", "gone")
    for _ in range(3):
        stage.conductor.regain("a")
    stage.conductor.lose("nobody", "gone")
    stage.conductor.regain("nobody")
    assert stage.child.kinds() == ["online", "online"]


def test_a_site_that_cannot_be_reached_fails_its_task(stage: Any) -> None:
    stage.unreachable = {"a"}
    stage.task(train("t"))
    assert failures(stage) == [Failure.UNAVAILABLE]


# -- a coordinator that was taken over ----------------------------------------------------------


def test_a_site_outside_the_job_cannot_be_addressed(stage: Any) -> None:
    with pytest.raises(InvalidMessage, match="outside its job"):
        stage.task(train("t", "z"))


def test_an_id_under_way_cannot_be_used_again(stage: Any) -> None:
    stage.task(train("t", "a"))
    with pytest.raises(InvalidMessage, match="reused"):
        stage.task(train("t", "b"))


def test_tasks_under_way_are_bounded(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PENDING", 3)
    for number in range(3):
        stage.task(train(f"t{number}"))
    with pytest.raises(InvalidMessage, match="too many"):
        stage.task(train("t3"))


@pytest.mark.parametrize("kind", ["result", "online", "go", "start", ""])
def test_a_coordinator_cannot_say_what_only_its_parent_says(stage: Any, kind: str) -> None:
    with pytest.raises(InvalidMessage, match="unexpected"):
        stage.say(kind)


def test_a_model_that_is_none_goes_nowhere_and_is_released(stage: Any) -> None:
    for say in (lambda part: stage.task(train("t"), part),
                lambda part: stage.say("publish", b"", part, round=1, metrics={})):  # fmt: skip
        part = stage.part(b"garbage")
        with pytest.raises(InvalidModel):
            say(part)
        assert part.holds == 0
    assert stage.tasks == []
    assert stage.conductor.published is None


@pytest.mark.parametrize(
    "fields", [{}, {"round": "1", "metrics": {}}, {"round": 1, "metrics": []}, {"round": 1.0}]
)
def test_a_malformed_publication_is_refused(stage: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="publication"):
        stage.say("publish", **fields)


def test_the_last_model_is_the_jobs_and_each_is_held_once(stage: Any) -> None:
    first, second = stage.part(MODEL), stage.part(MODEL)
    stage.say("publish", b"", first, round=1, metrics={"a": 1, "b": "x"})
    assert first.holds == 1
    stage.say("publish", b"", second, round=2, metrics={})
    assert (first.holds, second.holds) == (0, 1)
    stage.say("publish", round=3, metrics={})  # numbers alone keep the model
    assert stage.conductor.published.model is second
    assert stage.published[0].metrics == {"a": 1.0}


def test_a_cohort_is_the_sites_that_trained_not_those_that_failed_or_evaluated(stage: Any) -> None:
    stage.task(train("t1", "a"))
    stage.task(train("t2", "b"))
    stage.task(train("t3", "c", kind=TaskKind.EVALUATE))
    stage.answer("a", Result("t1", "a"))
    stage.answer("b", Result("t2", "b", error=TaskError(Failure.WORKLOAD, "no data")))
    stage.answer("c", Result("t3", "c"))
    stage.say("publish", b"", stage.part(MODEL), round=1, metrics={})
    assert stage.conductor.published.cohort == {"a"}


def test_tasks_of_one_batch_stand_for_each_other_and_those_of_two_do_not(stage: Any) -> None:
    for number, (site, batch) in enumerate([("a", "x"), ("b", "x"), ("c", "y")]):
        task = train(f"t{number}", site, round=0)
        stage.task(task, batch=batch, dispatch=number)
        stage.answer(site, Result(f"t{number}", site))
        if number == 1:
            assert stage.conductor.cohorts.smallest() == {"a", "b"}
    assert stage.conductor.cohorts.smallest() == {"c"}


@pytest.mark.parametrize(
    "fields",
    [
        {"batch": 1},
        {"batch": "b" * 256},
        {"dispatch": True},
        {"dispatch": "1"},
        {"step": b"s"},
        {"step": "s" * 256},
    ],
)
def test_a_malformed_batch_is_refused(stage: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match="malformed"):
        stage.task(train("t"), **fields)
    assert stage.tasks == []


# -- frames -----------------------------------------------------------------------------------


def test_a_frame_goes_to_a_site_that_is_there_and_to_no_other(stage: Any) -> None:
    frame = Frame("aux", "hello", b"x")
    stage.conductor.lose("b", "gone")
    for site in ("a", "b", "z"):
        stage.say("frame", notes.frame_note(frame), site=site)
    assert stage.frames == [("a", frame)]


def test_a_site_that_floods_the_coordinator_is_refused_before_the_coordinator_fails(
    stage: Any,
) -> None:
    stage.conductor.frame("a", Frame("c", "t", b""))
    stage.child.backlog = module._MOST_WAITING
    with pytest.raises(InvalidMessage, match="faster"):
        stage.conductor.frame("a", Frame("c", "t", b""))


# -- whatever happens ---------------------------------------------------------------------------

actions = st.lists(
    st.tuples(
        st.sampled_from(["task", "answer", "forge", "double", "lose", "regain", "late", "fail"]),
        st.sampled_from("abc"),
        st.integers(0, 30),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(actions)
def test_whatever_happens_each_task_gets_exactly_one_result(new_stage: Any, todo: Any) -> None:
    stage = new_stage()
    sent: dict[str, str] = {}
    for what, site, number in todo:
        some = f"t{number % max(1, len(sent))}"
        match what:
            case "task":
                sent[f"t{len(sent)}"] = site
                stage.task(train(f"t{len(sent) - 1}", site, number % 3), deadline=10 + number)
            case "answer" | "double":
                owner = sent.get(some, site)
                for _ in range(2 if what == "double" else 1):
                    stage.answer(owner, Result(some, owner, examples=number))
            case "forge":
                with suppress(FedgateError):
                    stage.answer(site, Result(some, sent.get(some, site)))
            case "lose":
                stage.conductor.lose(site, "gone")
            case "regain":
                stage.conductor.regain(site)
            case "late":
                stage.clock.advance(number)
            case "fail":
                stage.conductor.fail_task(some, Failure.UNAVAILABLE, "cargo")
    stage.clock.advance(1000)
    results = stage.child.results()
    assert Counter(r.task for r in results) == dict.fromkeys(sent, 1)
    assert all(sent[r.task] == r.site for r in results)
    stage.conductor.close()
    told, unsent = stage.rounds, stage.conductor.rounds.unrecorded.unsent
    assert sum(r.tasks for r in told) + unsent == len(sent)
    assert sum(r.answers for r in told) == sum(r.ok for r in results)


# -- what leaves --------------------------------------------------------------------------------


def test_a_site_sees_ids_of_ours_and_the_coordinator_its_own(stage: Any) -> None:
    secrets = ["patient-4711", "p" * 255]
    for secret in secrets:
        stage.task(train(secret, round=47))
    assert [t.id for t in stage.tasks] == ["t1", "t2"]
    for secret in secrets:
        stage.answer("a", Result(secret, "a"))
    assert [r.task for r in stage.child.results()] == secrets
    stage.task(train("again"))
    stage.conductor.close()
    assert {r.number for r in stage.rounds} <= {1, 2}


def test_an_id_can_be_used_again_once_its_task_is_settled(stage: Any) -> None:
    for _ in range(2):
        stage.task(train("t"))
        stage.ids.clear()
        stage.ids["t"] = stage.tasks[-1].id
        assert stage.answer("a", Result("t", "a"))
    assert [t.id for t in stage.tasks] == ["t1", "t2"]


def test_what_is_published_is_told_by_our_number_of_its_round(stage: Any) -> None:
    stage.task(train("t", round=2**31 - 1))
    stage.say("publish", round=2**31 - 1, metrics={})
    stage.say("publish", round=12345, metrics={})
    assert [p.round for p in stage.published] == [1, 1]


@pytest.mark.parametrize(
    ("number", "metrics"),
    [
        (2**60, {}),
        (-1, {}),
        (1, {"n" * 32_768: 1.0}),
        (1, {"ü" * 6_000: 1.0}),
        (1, {str(n): 1.0 for n in range(1001)}),
        (1, {"huge": 10**400}),
    ],
    ids=["a huge round", "a negative round", "a long name", "a long name in JSON", "many", "huge"],
)
def test_a_publication_that_no_log_could_hold_is_refused(
    stage: Any, number: int, metrics: dict[str, Any]
) -> None:
    with pytest.raises(InvalidMessage, match="publi"):
        stage.say("publish", round=number, metrics=metrics)
    assert stage.published == []


def test_after_the_end_a_coordinator_that_goes_on_is_not_heard(stage: Any) -> None:
    stage.task(train("t1"))
    stage.answer("a", Result("t1", "a"))
    stage.conductor.close()
    for number in range(2, 50):
        stage.task(train(f"t{number}", round=number))
    stage.say("publish", round=49, metrics={})
    assert [t.id for t in stage.tasks] == ["t1"]
    assert stage.published == []
    assert [(r.number, r.abandoned) for r in stage.rounds] == [(1, ())]


def test_rounds_whose_sites_are_all_gone_did_not_happen(stage: Any) -> None:
    for site in "abc":
        stage.conductor.lose(site, "gone")
    for number in range(32):
        stage.task(train(f"t{number}", round=number))
    stage.conductor.close()
    assert stage.rounds == []
    assert stage.conductor.rounds.unrecorded.unsent == 32
