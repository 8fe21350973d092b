"""What is written down of rounds: each once, with what was sent, what arrived, and what did not."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedgate.task import Failure, Result, Round, Task, TaskError, TaskKind
from fedgate_gateway.enclave import round_tracker as module
from fedgate_gateway.enclave.round_record import entries, event, kind_of, unrecorded
from fedgate_gateway.enclave.round_tracker import RoundTracker, group_of
from fedgate_gateway.link import facts
from fedgate_gateway.pki import PeerKind

EVALUATE, TRAIN = TaskKind.EVALUATE, TaskKind.TRAIN
GONE = TaskError(Failure.UNAVAILABLE, "its session ended")


class Book:
    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.now = 0.0
        self.tracker = RoundTracker(self.rounds.append, lambda: self.now)
        self.sites: dict[str, str] = {}

    def sent(self, site: str, number: int = 1, kind: TaskKind = TRAIN, **how: Any) -> str:
        key = f"t{len(self.sites) + 1}"
        self.sites[key] = site
        task, step = Task("chosen by the workload", site, kind, number), how.get("step", "")
        self.tracker.sent(key, task, 100, group(task, **how), step)
        return key

    def miss(self, site: str, number: int = 1, kind: TaskKind = TRAIN, **how: Any) -> None:
        task = Task("x", site, kind, number)
        self.tracker.unreached(task, Failure.UNAVAILABLE, group(task, **how))

    def answer(self, key: str, **fields: Any) -> None:
        self.tracker.settled(key, Result(key, self.sites[key], **fields), 7)

    def publish(self) -> None:
        self.now += 1000.0
        self.tracker.published()

    def told(self) -> list[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
        return [(r.number, str(r.kind), r.sites, r.answered) for r in self.rounds]


def group(task: Task, step: str = "", batch: str = "", dispatch: int | None = None) -> Any:
    return group_of(task, step=step, batch=batch, dispatch=dispatch)


def test_metrics_are_means_weighted_by_examples() -> None:
    b = Book()
    one, two = b.sent("a"), b.sent("b")
    b.answer(one, metrics={"loss": 1.0}, examples=30)
    b.answer(two, metrics={"loss": 2.0, "extra": 5.0}, examples=10)
    b.publish()
    (round_,) = b.rounds
    assert round_.metrics == {"loss": pytest.approx(1.25), "extra": 5.0}
    assert (round_.sites, round_.sent_bytes, round_.received_bytes) == (("a", "b"), 200, 14)


def test_tasks_for_a_site_that_is_gone_cost_no_memory_each() -> None:
    b = Book()
    b.miss("a")
    tracemalloc.start()
    try:
        for _ in range(20_000):
            b.miss("a")
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000
    b.answer(b.sent("b"))
    b.publish()
    assert (b.rounds[0].tasks, b.rounds[0].unreached) == (20_002, {"a": Failure.UNAVAILABLE})


def test_a_number_that_is_none_spoils_no_mean() -> None:
    b = Book()
    for site, value in (("a", math.nan), ("b", math.inf), ("c", 3.0)):
        b.answer(b.sent(site), metrics={"loss": value})
    b.publish()
    assert b.rounds[0].metrics == {"loss": 3.0}


def test_a_site_that_failed_is_told_by_a_code_and_its_reason_stays_inside() -> None:
    b = Book()
    b.answer(b.sent("a"), error=TaskError(Failure.WORKLOAD, "secret" * 999), metrics={"loss": 1.0})
    b.publish()
    (told,) = b.rounds
    assert (told.sites, told.answered, told.failed) == (("a",), (), {"a": Failure.WORKLOAD})
    assert told.metrics == {}
    assert "secret" not in str([*entries(told, {}), event(told, {})])


def test_a_round_is_told_when_another_begins_or_something_is_published() -> None:
    b = Book()
    b.answer(b.sent("a", 1))
    assert b.rounds == []
    b.answer(b.sent("a", 1, EVALUATE))
    assert b.told() == [(1, "train", ("a",), ("a",))]
    b.answer(b.sent("b", 2))
    assert b.told()[1:] == [(1, "evaluate", ("a",), ("a",))]
    b.publish()
    assert b.told()[2:] == [(2, "train", ("b",), ("b",))]


def test_training_and_evaluation_at_the_same_time_are_two_rounds() -> None:
    b = Book()
    trains, evaluates = [b.sent(s, 1) for s in "ab"], [b.sent(s, 1, EVALUATE) for s in "ab"]
    for key in (trains[0], evaluates[1], evaluates[0], trains[1]):
        b.answer(key)
    b.publish()
    assert sorted(b.told()) == [
        (1, "evaluate", ("a", "b"), ("b", "a")), (1, "train", ("a", "b"), ("a", "b")),
    ]  # fmt: skip


def test_answers_of_interleaved_rounds_count_where_their_task_was_sent() -> None:
    """FedBuff and FedAsync: a fast site is rounds ahead of a slow one."""
    b = Book()
    slow, fast = b.sent("slow", 1), b.sent("fast", 1)
    b.answer(fast)
    for number in (2, 3):
        b.answer(b.sent("fast", number))
    b.answer(slow)
    b.publish()
    assert sorted(b.told()) == [
        (1, "train", ("slow", "fast"), ("fast", "slow")),
        (2, "train", ("fast",), ("fast",)),
        (3, "train", ("fast",), ("fast",)),
    ]
    assert sum(r.received_bytes for r in b.rounds) == 28


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_no_time_that_sites_take_divides_a_round_or_joins_two(seconds: float) -> None:
    """They come for their task one after the other, and a busy machine puts hours in between."""
    b = Book()
    for step in ("first", "second"):  # without numbers, as FLARE's statistics
        for site in "abc":
            b.now += seconds
            b.answer(b.sent(site, 0, step=step))
        b.now += seconds
        b.publish()  # what a workload makes of it meanwhile does not end a step
        b.tracker.end_step(step)
    assert b.told() == [(n, "train", ("a", "b", "c"), ("a", "b", "c")) for n in (1, 2)]
    for dispatch in (1, 2):  # nor is a dispatch the one before it
        for key in [b.sent(site, 0, dispatch=dispatch) for site in "ab"]:
            b.now += seconds
            b.answer(key)
    b.publish()
    assert [r[2] for r in b.told()[2:]] == [("a", "b")] * 2


def test_a_site_that_is_given_its_task_again_is_in_one_round_and_counted_once() -> None:
    """As FLARE does when a site's worker has crashed and was started again."""
    b = Book()
    one, two = b.sent("a", step="x"), b.sent("b", step="x")
    b.answer(one, error=GONE, metrics={"loss": 9.0})
    b.answer(two, metrics={"loss": 1.0})
    again = b.sent("a", step="x")
    b.tracker.end_step("x")
    assert b.rounds == []
    b.answer(again, metrics={"loss": 3.0})
    (told,) = b.rounds
    assert (told.sites, told.answered, told.failed) == (
        ("a", "b"), ("b", "a"), {"a": Failure.UNAVAILABLE},
    )  # fmt: skip
    assert (told.tasks, told.answers, told.metrics) == (3, 2, {"loss": 2.0})
    b.tracker.end_step("x")
    b.tracker.end_step("never begun")
    assert len(b.rounds) == 1


def test_steps_that_nobody_ends_are_bounded() -> None:
    b = Book()
    for number in range(module._STEPS + 10):
        b.answer(b.sent("a", 0, step=f"{number}"))
    assert len(b.rounds) == 9
    b.tracker.close()
    assert len(b.rounds) == module._STEPS + 10


def test_an_answer_after_its_deadline_is_late_in_its_round_or_beside_it() -> None:
    b = Book()
    one, two = b.sent("a"), b.sent("b")
    b.answer(one, error=TaskError(Failure.TIMEOUT, ""))
    b.tracker.late(one, 50)
    b.answer(two, error=TaskError(Failure.TIMEOUT, ""))
    b.publish()
    b.tracker.late(two, 50)
    b.tracker.late(two, 50)  # of which one counts
    b.tracker.late("never sent", 50)
    (told,) = b.rounds
    assert (told.answers, told.late, told.received_bytes) == (0, 1, 64)
    assert list(unrecorded(b.tracker.unrecorded)) == [
        ("round.late", {"answers": 1, "rounds": {"1": 1}, "bytes": 50})
    ]


def test_a_round_that_the_end_of_the_job_broke_off_did_not_finish() -> None:
    b = Book()
    b.answer(b.sent("a"))
    b.sent("b")
    b.tracker.close()
    (told,) = b.rounds
    assert (kind_of(told), told.answered, told.abandoned) == ("round.abandoned", ("a",), ("b",))
    b.tracker.close()
    assert len(b.rounds) == 1


def test_a_site_that_was_never_sent_its_task_took_no_part() -> None:
    b = Book()
    b.miss("a")
    b.answer(b.sent("b"))
    b.miss("c")
    b.publish()
    (told,) = b.rounds
    assert (told.sites, set(told.unreached), told.tasks) == (("b",), {"a", "c"}, 3)


def test_a_round_that_nobody_was_sent_anything_of_did_not_happen() -> None:
    b = Book()
    for number in range(module._UNSENT + 32):
        b.miss("a", number)
    b.tracker.close()
    assert b.rounds == []
    found = dict(unrecorded(b.tracker.unrecorded))
    assert found == {"round.unsent": {"tasks": module._UNSENT + 32}}


def test_what_a_workload_calls_its_rounds_is_not_told() -> None:
    b = Book()
    for number in (2**31 - 1, 77, 2**31 - 1, 0):
        b.answer(b.sent("a", number))
        b.answer(b.sent("a", number, EVALUATE))
        b.publish()
    assert [r.number for r in b.rounds] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert b.tracker.number_of(77) == 4


def test_a_query_before_all_other_rounds_is_round_0() -> None:
    b = Book()
    b.answer(b.sent("a", 0, TaskKind.QUERY))
    b.answer(b.sent("a", 1))
    b.answer(b.sent("a", 1, TaskKind.QUERY))
    b.publish()
    assert [(r.number, str(r.kind)) for r in b.rounds] == [(0, "query"), (1, "train"), (1, "query")]


def test_names_of_metrics_never_make_a_round_too_large_to_be_written() -> None:
    b = Book()
    b.answer(b.sent("a"), metrics={"n" * 32_768: 1.0, "loss": 2.0})
    b.answer(b.sent("b"), metrics={f"{n}": 1.0 for n in range(1000)})
    b.publish()
    (told,) = b.rounds
    assert told.metrics["loss"] == 2.0
    assert len(told.metrics) + told.metrics_left_out == 1002
    assert max(len(str(e)) for e in entries(told, told.metrics)) < 32 * 1024


def test_a_round_of_a_thousand_sites_is_several_entries_that_each_can_be_written() -> None:
    b = Book()
    names = [f"{n:04}{'x' * 59}" for n in range(1000)]
    ids = [b.sent(name) for name in names]
    for number, key in enumerate(ids):
        b.answer(key, error=GONE if number % 3 else None)
    b.publish()
    (told,) = b.rounds
    written = list(entries(told, {}))
    assert [site for e in written for site in e["sites"]] == names
    assert sum(len(e["answered"]) + len(e["failed"]) for e in written) == 1000
    assert max(len(str(e)) for e in written) < 32 * 1024
    assert event(told, {})["sites_total"] == 1000


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens in whatever order, every task is counted exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.b = Book()
        self.under_way: list[str] = []
        self.given_up: list[str] = []
        self.sent = self.unsent = self.answers = self.failures = self.late = 0

    @rule(
        site=st.sampled_from("abc"), number=st.integers(0, 3), kind=st.sampled_from(TaskKind),
        step=st.sampled_from(["", "s", "t"]),
    )  # fmt: skip
    def send(self, site: str, number: int, kind: TaskKind, step: str) -> None:
        self.under_way.append(self.b.sent(site, number, kind, step=step))
        self.sent += 1

    @rule(
        site=st.sampled_from("abc"), number=st.integers(0, 3), kind=st.sampled_from(TaskKind),
        step=st.sampled_from(["", "s", "t"]),
    )  # fmt: skip
    def miss(self, site: str, number: int, kind: TaskKind, step: str) -> None:
        self.b.miss(site, number, kind, step=step)
        self.unsent += 1

    @rule(data=st.data(), ok=st.booleans())
    def settle(self, data: st.DataObject, ok: bool) -> None:
        if not self.under_way:
            return
        key = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(key)
        self.b.answer(key, error=None if ok else GONE)
        self.answers += ok
        self.failures += not ok
        if not ok:
            self.given_up.append(key)

    @rule()
    def come_late(self) -> None:
        if self.given_up:
            self.b.tracker.late(self.given_up.pop(), 7)
            self.late += 1

    @rule(step=st.sampled_from(["", "s", "t"]))
    def end(self, step: str) -> None:
        if step:
            self.b.tracker.end_step(step)
        else:
            self.b.publish()

    @invariant()
    def no_round_is_told_before_it_is_over(self) -> None:
        assert not any(r.abandoned for r in self.b.rounds)
        assert all(set(r.answered) | set(r.failed) == set(r.sites) for r in self.b.rounds)

    def teardown(self) -> None:
        left = {self.b.sites[key] for key in self.under_way}
        self.b.tracker.close()
        rounds, other = self.b.rounds, self.b.tracker.unrecorded
        assert sum(r.tasks for r in rounds) + other.unsent == self.sent + self.unsent
        assert sum(r.answers for r in rounds) == self.answers
        assert sum(r.late for r in rounds) + sum(other.late.values()) == self.late
        assert {s for r in rounds for s in r.abandoned} == left
        settled = self.answers + self.failures + self.late
        assert sum(r.received_bytes for r in rounds) + other.late_bytes == 7 * settled
        assert sum(r.sent_bytes for r in rounds) == 100 * self.sent
        assert all(r.sites for r in rounds)
        keys = [(r.number, r.kind) for r in rounds]
        assert len(keys) == len(set(keys))


AnyCourse.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyCourse = AnyCourse.TestCase


def test_the_gateway_takes_every_record_of_a_round() -> None:
    b = Book()
    b.miss("c")
    b.answer(b.sent("a"), metrics={"loss": 1.0})
    late = b.sent("b")
    b.answer(late, error=GONE)
    b.publish()
    b.tracker.late(late, 7)
    b.sent("a", 2)
    b.tracker.close()
    b.tracker.unrecorded.unsent += 1
    sites = {"a", "b", "c"}
    for told in b.rounds:
        facts.event(json.dumps({"kind": "round", **event(told, told.metrics)}), sites)
        for written in entries(told, told.metrics):
            facts.entry(PeerKind.ENCLAVE, kind_of(told), json.dumps(written), sites)
    others = list(unrecorded(b.tracker.unrecorded))
    assert [kind for kind, _ in others] == ["round.late", "round.unsent"]
    for kind, found in others:
        facts.entry(PeerKind.ENCLAVE, kind, json.dumps(found), sites)
