"""Needs of workloads and rules of guards: what is missing is told as a line for the owner."""

from __future__ import annotations

import pytest

from fedgate.errors import InvalidBundle
from fedgate.guard_rules import STRICT, GuardRules, KindRules, Need, missing_lines, read_needs
from fedgate.task import TaskKind

NEEDS = (
    'train.arrays = "unchecked"',
    'query.arrays = "like-job"',
    'train.dtypes = ["U8", "F32"]',
    "custom.body_bytes = 1000000",
    "evaluate.metrics = 100",
)


def test_strict_rules_lack_all_of_it_and_say_what_to_write():
    assert read_needs(list(NEEDS)) == NEEDS
    assert missing_lines(NEEDS, ["aux:a"], GuardRules()) == [
        '[guard.train] arrays = "unchecked"',
        '[guard.query] arrays = "like-job"',
        '[guard.train] dtypes = ["F16", "BF16", "F32", "F64", "I32", "I64", "U8"]',
        "[guard.custom] body_bytes = 1000000",
        "[guard.evaluate] metrics = 100",
        '[guard] frames: add ["aux:a"]',
    ]


def test_rules_that_are_as_loose_or_looser_lack_nothing():
    open_ = KindRules("unchecked", ("U8", "F32"), 2_000_000, 100)
    assert missing_lines(NEEDS, (), GuardRules((), dict.fromkeys(TaskKind, open_))) == []
    assert missing_lines(NEEDS, (), GuardRules((), {})) == []  # nothing is known: it is asked later
    assert missing_lines(['train.arrays = "like-task"'], (), GuardRules((), STRICT)) == []


def test_what_an_owner_opened_is_told_and_nothing_else():
    assert GuardRules(("aux:*",)).unusual() == ()
    opened = {**STRICT, TaskKind.QUERY: KindRules("unchecked", body_bytes=100)}
    assert GuardRules((), opened).unusual() == (
        'query.arrays = "unchecked"',
        "query.body_bytes = 100",
    )


@pytest.mark.parametrize(
    "line",
    [
        "", "train", "train.arrays", 'train.arrays = "all"', 'gossip.arrays = "none"',
        "train.arrays = 3", "train.body_bytes = -1", "train.body_bytes = true",
        'train.dtypes = ["object"]', "train.dtypes = []", "train.finite = false",
        'train.arrays = "none"\nquery.arrays = "none"', "train.metrics = 1.5", "[" * 5000,
        "train.body_bytes = 1" + "0" * 400, 'train.dtypes = [["U8"]]',
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_refused(line):
    with pytest.raises(InvalidBundle):
        Need.parse(line)


@pytest.mark.parametrize("lines", ["train", {"a": 1}, None, [1], ["train.metrics = 1"] * 33])
def test_a_list_that_is_none_is_refused(lines):
    with pytest.raises(InvalidBundle):
        read_needs(lines)
