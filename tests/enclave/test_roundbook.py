"""What is written down of a round: who took part, who failed and why, and their mean metrics."""

from __future__ import annotations

import math

import pytest

from fedgate.task import Failure, Result, Round, Task, TaskError, TaskKind
from fedgate_gateway.enclave.roundbook import RoundBook


class Book:
    def __init__(self) -> None:
        self.rounds: list[Round] = []
        self.book = RoundBook(self.rounds.append)

    def sent(self, site: str, number: int = 1, kind: TaskKind = TaskKind.TRAIN) -> Task:
        task = Task(f"{number}-{kind}-{site}", site, kind, number)
        self.book.sent(task, 100)
        return task

    def answer(self, task: Task, **fields: object) -> None:
        self.book.received(task, Result(task.id, task.site, **fields), 7)  # type: ignore[arg-type]


def test_metrics_are_means_weighted_by_examples() -> None:
    b = Book()
    one, two = b.sent("a"), b.sent("b")
    b.answer(one, metrics={"loss": 1.0}, examples=30)
    b.answer(two, metrics={"loss": 2.0, "extra": 5.0}, examples=10)
    b.book.close()
    (round_,) = b.rounds
    assert round_.metrics == {"loss": pytest.approx(1.25), "extra": 5.0}
    assert (round_.sites, round_.sent_bytes, round_.received_bytes) == (("a", "b"), 200, 14)


def test_a_number_that_is_none_spoils_no_mean() -> None:
    b = Book()
    for site, value in (("a", math.nan), ("b", math.inf), ("c", 3.0)):
        b.answer(b.sent(site), metrics={"loss": value})
    b.book.close()
    assert b.rounds[0].metrics == {"loss": 3.0}


def test_a_site_that_failed_is_named_with_a_code_and_without_its_text() -> None:
    b = Book()
    b.answer(b.sent("a"), error=TaskError(Failure.WORKLOAD, "x" * 9999), metrics={"loss": 1.0})
    b.book.close()
    assert b.rounds[0].failed == {"a": "workload"}
    assert b.rounds[0].metrics == {}


def test_a_task_of_another_round_or_kind_closes_the_one_before() -> None:
    b = Book()
    b.answer(b.sent("a", 1))
    b.answer(b.sent("a", 1, TaskKind.EVALUATE))
    late = b.sent("b", 2)
    assert [(r.number, r.kind) for r in b.rounds] == [(1, "train"), (1, "evaluate")]
    b.book.close()
    b.answer(late)  # after its round was closed
    b.book.close()
    assert len(b.rounds) == 3


def test_a_round_is_idle_only_while_nothing_is_under_way() -> None:
    b = Book()
    assert not b.book.idle
    one, two = b.sent("a"), b.sent("b")
    b.answer(one)
    assert not b.book.idle
    b.answer(two)
    assert b.book.idle


def test_closing_nothing_tells_nothing() -> None:
    b = Book()
    b.book.close()
    assert b.rounds == []
