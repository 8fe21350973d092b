"""The sites behind an output are counted round by round, and never too many of them."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.task import Task, TaskKind
from fedgate_gateway.enclave import cohort as module
from fedgate_gateway.enclave.cohort import Cohorts

TRAIN, QUERY, EVALUATE = TaskKind.TRAIN, TaskKind.QUERY, TaskKind.EVALUATE


class Book:
    def __init__(self) -> None:
        self.cohorts = Cohorts()
        self.tasks = 0

    def sent(
        self, site: str, kind: TaskKind = TRAIN, number: int = 0, *, batch: str = "",
        dispatch: int | None = None, absent: str = "",
    ) -> str:  # fmt: skip
        self.tasks += 1
        key = f"t{self.tasks}"
        task = Task("chosen by the workload", site, kind, number)
        self.cohorts.sent(key, task, batch=batch, dispatch=dispatch, absent=absent)
        return key

    def answer(self, key: str, *, arrays: bool = True) -> None:
        self.cohorts.delivered(key, arrays=arrays)

    def round(self, sites: str, kind: TaskKind = TRAIN, number: int = 0, **more: object) -> None:
        for key in [self.sent(site, kind, number, **more) for site in sites]:  # type: ignore[arg-type]
            self.answer(key)

    def model(self) -> str:
        return "".join(sorted(self.cohorts.of_model()))

    def everything(self) -> str | None:
        least = self.cohorts.smallest()
        return None if least is None else "".join(sorted(least))


def test_with_all_sites_but_one_cut_off_a_model_is_that_sites_alone() -> None:
    b = Book()
    b.round("abc", number=1)
    assert b.model() == "abc"
    b.round("a", number=2)
    assert (b.model(), b.everything()) == ("a", "a")


def test_a_model_is_of_the_smallest_round_that_it_can_hold() -> None:
    b = Book()
    for number, sites in enumerate(["abc", "bc", "abc"], 1):
        b.round(sites, number=number)
    assert b.model() == "bc"


def test_nothing_stands_behind_what_no_site_has_answered() -> None:
    b = Book()
    b.cohorts.given_up(b.sent("a"))
    assert (b.model(), b.everything()) == ("", None)


def test_a_site_that_is_asked_for_first_parameters_is_in_the_log_and_not_in_the_model() -> None:
    b = Book()
    b.round("a", QUERY)
    b.round("abc", number=1)
    assert (b.model(), b.everything()) == ("abc", "a")


def test_a_model_that_one_site_was_asked_for_is_that_sites() -> None:
    b = Book()
    b.round("abc", number=1)
    b.round("b", QUERY)
    assert b.model() == "b"
    assert b.model() == "b"  # whoever publishes it a second time


def test_a_workload_that_numbers_nothing_and_samples_is_counted_by_dispatch() -> None:
    b = Book()
    for dispatch, sites in enumerate(["ab", "cd", "e", "ab"]):
        b.round(sites, dispatch=dispatch)
    assert b.model() == "e"


def test_a_number_that_stands_still_ends_with_the_model() -> None:
    b = Book()
    b.round("ab", number=1)
    assert b.model() == "ab"
    b.round("c", number=1)
    assert b.model() == "c"


def test_a_round_of_a_number_may_take_many_dispatches() -> None:
    b = Book()
    for dispatch, site in enumerate("abc"):
        b.answer(b.sent(site, number=1, dispatch=dispatch))
    assert b.model() == "abc"


def test_a_second_task_of_a_site_begins_another_batch() -> None:
    b = Book()
    b.round("abc", number=1)
    b.answer(b.sent("a", number=1, absent="bc"))
    b.answer(b.sent("b", number=1))  # it is back: not with a, which was alone
    assert b.everything() == "b"


def test_a_batch_that_a_framework_hands_out_again_is_one() -> None:
    b = Book()
    b.answer(b.sent("a", batch="x"))
    b.cohorts.given_up(b.sent("b", batch="x", absent="c"))
    b.answer(b.sent("c", batch="x"))
    b.answer(b.sent("b", batch="x"))
    assert b.model() == "abc"


def test_kinds_are_not_mixed() -> None:
    b = Book()
    b.round("a", number=1)
    b.round("bc", EVALUATE, number=1)
    assert b.everything() == "a"


@pytest.mark.parametrize("small", [0, 500])
def test_rounds_that_are_not_kept_count_as_they_stood(small: int) -> None:
    b = Book()
    for number in range(1, 1000):
        b.round("a" if number == small else "abc", number=number)
    assert len(b.cohorts._batches) <= module._KEPT + 1
    assert len(b.cohorts._newest) <= module._KEPT + 1
    assert b.model() == ("a" if small else "abc")


#: Rounds that are really one, each of some sites and of a way to tell it; then who does what next.
_ROUNDS = st.lists(
    st.tuples(
        st.sampled_from(["number", "dispatch", "batch"]),
        st.sampled_from([TRAIN, EVALUATE, TaskKind.CUSTOM]),
        st.sets(st.sampled_from("abcde"), min_size=1),
    ),
    min_size=1,
    max_size=8,
)
_STEPS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["send", "answer", "fail"])))


@settings(max_examples=300)
@given(_ROUNDS, _STEPS, st.integers(1, 4))
def test_whatever_is_interleaved_each_round_is_counted_as_it_was(
    rounds: list[tuple[str, TaskKind, set[str]]], steps: list[tuple[int, str]], kept: int
) -> None:
    before, module._KEPT = module._KEPT, kept  # type: ignore[misc]
    try:
        _interleaved(rounds, steps, exact=kept > len(rounds))
    finally:
        module._KEPT = before  # type: ignore[misc]


def _interleaved(
    rounds: list[tuple[str, TaskKind, set[str]]], steps: list[tuple[int, str]], *, exact: bool
) -> None:
    b = Book()
    to_send = [sorted(sites) for _, _, sites in rounds]
    open_: dict[int, list[tuple[str, str]]] = defaultdict(list)
    answered: dict[int, set[str]] = defaultdict(set)
    for position, what in steps:
        index = position % len(rounds)
        way, kind, _ = rounds[index]
        if what == "send" and to_send[index]:
            site = to_send[index].pop()
            number, dispatch = (index + 1, None) if way == "number" else (0, index)
            batch = f"b{index}" if way == "batch" else ""
            key = b.sent(site, kind, number, batch=batch, dispatch=dispatch)
            open_[index].append((key, site))
        elif what == "answer" and open_[index]:
            key, site = open_[index].pop()
            b.answer(key)
            answered[index].add(site)
        elif what == "fail" and open_[index]:
            b.cohorts.given_up(open_[index].pop()[0])
    sizes = [len(sites) for sites in answered.values() if sites]
    trained = [len(s) for i, s in answered.items() if s and rounds[i][1] is not EVALUATE]
    told, model = b.cohorts.smallest(), b.cohorts.of_model()
    assert (told is None) == (not sizes)
    if told is not None:
        assert len(told) <= min(sizes)
        assert not exact or len(told) == min(sizes)
    if trained:
        assert 0 < len(model) <= min(trained)
