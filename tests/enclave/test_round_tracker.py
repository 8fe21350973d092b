"""What is written down of rounds: each once, with what was sent, what arrived, and what did not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedgate.task import Failure, Result, Round, Task, TaskError, TaskKind
from fedgate_gateway.enclave import round_tracker as module
from fedgate_gateway.enclave.round_record import entries, event, kind_of, unrecorded
from fedgate_gateway.enclave.round_tracker import ROUND_IDLE, RoundTracker
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

    def sent(self, site: str, number: int = 1, kind: TaskKind = TRAIN) -> str:
        key = f"t{len(self.sites) + 1}"
        self.sites[key] = site
        self.tracker.sent(key, Task("chosen by the workload", site, kind, number), 100)
        return key

    def answer(self, key: str, **fields: Any) -> None:
        self.tracker.settled(key, Result(key, self.sites[key], **fields), 7)

    def idle(self) -> None:
        self.now += 1.01 * ROUND_IDLE
        self.tracker.close_idle()

    def told(self) -> list[tuple[int, str, tuple[str, ...], tuple[str, ...]]]:
        return [(r.number, str(r.kind), r.sites, r.answered) for r in self.rounds]


def test_metrics_are_means_weighted_by_examples() -> None:
    b = Book()
    one, two = b.sent("a"), b.sent("b")
    b.answer(one, metrics={"loss": 1.0}, examples=30)
    b.answer(two, metrics={"loss": 2.0, "extra": 5.0}, examples=10)
    b.idle()
    (round_,) = b.rounds
    assert round_.metrics == {"loss": pytest.approx(1.25), "extra": 5.0}
    assert (round_.sites, round_.sent_bytes, round_.received_bytes) == (("a", "b"), 200, 14)


def test_a_number_that_is_none_spoils_no_mean() -> None:
    b = Book()
    for site, value in (("a", math.nan), ("b", math.inf), ("c", 3.0)):
        b.answer(b.sent(site), metrics={"loss": value})
    b.idle()
    assert b.rounds[0].metrics == {"loss": 3.0}


def test_a_site_that_failed_is_told_by_a_code_and_its_reason_stays_inside() -> None:
    b = Book()
    b.answer(b.sent("a"), error=TaskError(Failure.WORKLOAD, "secret" * 999), metrics={"loss": 1.0})
    b.idle()
    (told,) = b.rounds
    assert (told.sites, told.answered, told.failed) == (("a",), (), {"a": Failure.WORKLOAD})
    assert told.metrics == {}
    assert "secret" not in str([*entries(told, {}), event(told, {})])


def test_a_round_is_told_when_the_next_of_its_kind_begins_or_after_a_pause() -> None:
    b = Book()
    b.answer(b.sent("a", 1))
    b.answer(b.sent("a", 1, EVALUATE))
    assert b.rounds == []
    b.sent("b", 2)
    assert b.told() == [(1, "train", ("a",), ("a",))]
    b.idle()
    assert b.told()[1:] == [(1, "evaluate", ("a",), ("a",))]


def test_training_and_evaluation_at_the_same_time_are_two_rounds() -> None:
    b = Book()
    trains, evaluates = [b.sent(s, 1) for s in "ab"], [b.sent(s, 1, EVALUATE) for s in "ab"]
    for key in (trains[0], evaluates[1], evaluates[0], trains[1]):
        b.answer(key)
    b.idle()
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
    b.idle()
    assert sorted(b.told()) == [
        (1, "train", ("slow", "fast"), ("fast", "slow")),
        (2, "train", ("fast",), ("fast",)),
        (3, "train", ("fast",), ("fast",)),
    ]
    assert sum(r.received_bytes for r in b.rounds) == 28


def test_sites_that_come_for_their_task_one_after_the_other_are_one_round() -> None:
    b = Book()
    for site in "abc":
        b.answer(b.sent(site))
        b.now += ROUND_IDLE / 2
        b.tracker.close_idle()
    b.idle()
    assert b.told() == [(1, "train", ("a", "b", "c"), ("a", "b", "c"))]


def test_an_answer_after_its_deadline_is_late_in_its_round_or_beside_it() -> None:
    b = Book()
    one, two = b.sent("a"), b.sent("b")
    b.answer(one, error=TaskError(Failure.TIMEOUT, ""))
    b.tracker.late(one, 50)
    b.answer(two, error=TaskError(Failure.TIMEOUT, ""))
    b.idle()
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
    b.tracker.unreached(Task("x", "a", TRAIN, 1), Failure.UNAVAILABLE)
    b.answer(b.sent("b"))
    b.tracker.unreached(Task("x", "c", TRAIN, 1), Failure.UNAVAILABLE)
    b.idle()
    (told,) = b.rounds
    assert (told.sites, set(told.unreached), told.tasks) == (("b",), {"a", "c"}, 3)


def test_a_round_that_nobody_was_sent_anything_of_did_not_happen() -> None:
    b = Book()
    for number in range(module._UNSENT + 32):
        b.tracker.unreached(Task("x", "a", TRAIN, number), Failure.UNAVAILABLE)
    b.tracker.close()
    assert b.rounds == []
    found = dict(unrecorded(b.tracker.unrecorded))
    assert found == {"round.unsent": {"tasks": module._UNSENT + 32}}


def test_what_a_workload_calls_its_rounds_is_not_told() -> None:
    b = Book()
    for number in (2**31 - 1, 77, 2**31 - 1, 0):
        b.answer(b.sent("a", number))
        b.answer(b.sent("a", number, EVALUATE))
        b.idle()
    assert [r.number for r in b.rounds] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert b.tracker.number_of(77) == 4


def test_a_query_before_all_other_rounds_is_round_0() -> None:
    b = Book()
    b.answer(b.sent("a", 0, TaskKind.QUERY))
    b.answer(b.sent("a", 1))
    b.answer(b.sent("a", 1, TaskKind.QUERY))
    b.idle()
    assert [(r.number, str(r.kind)) for r in b.rounds] == [(0, "query"), (1, "train"), (1, "query")]


def test_names_of_metrics_never_make_a_round_too_large_to_be_written() -> None:
    b = Book()
    b.answer(b.sent("a"), metrics={"n" * 32_768: 1.0, "loss": 2.0})
    b.answer(b.sent("b"), metrics={f"{n}": 1.0 for n in range(1000)})
    b.idle()
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
    b.idle()
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

    @rule(site=st.sampled_from("abc"), number=st.integers(0, 3), kind=st.sampled_from(TaskKind))
    def send(self, site: str, number: int, kind: TaskKind) -> None:
        self.under_way.append(self.b.sent(site, number, kind))
        self.sent += 1

    @rule(site=st.sampled_from("abc"), number=st.integers(0, 3), kind=st.sampled_from(TaskKind))
    def miss(self, site: str, number: int, kind: TaskKind) -> None:
        self.b.tracker.unreached(Task("x", site, kind, number), Failure.UNAVAILABLE)
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

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def wait(self, seconds: float) -> None:
        self.b.now += seconds
        self.b.tracker.close_idle()

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
    b.tracker.unreached(Task("x", "c", TRAIN, 1), Failure.UNAVAILABLE)
    b.answer(b.sent("a"), metrics={"loss": 1.0})
    late = b.sent("b")
    b.answer(late, error=GONE)
    b.idle()
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
