"""Notes cross trust boundaries: they come back as they were, or they are refused by name."""

import math
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage
from fedgate.task import Failure, Frame, Result, Task, TaskError, TaskKind
from fedgate_gateway.child import notes

READERS = [
    lambda note: notes.read_task(note, None),
    lambda note: notes.read_result(note, None),
    notes.read_frame,
]

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
name = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
integer = st.integers(-(1 << 63), (1 << 63) - 1)
scalar = st.booleans() | integer | st.floats(allow_nan=False) | text
tasks = st.builds(
    Task, id=name, site=text, kind=st.sampled_from(TaskKind), round=st.integers(0, (1 << 31) - 1),
    name=text, config=st.dictionaries(text, scalar, max_size=4), body=st.binary(max_size=50),
)  # fmt: skip
errors = st.builds(TaskError, st.sampled_from(Failure), text)
results = st.builds(
    Result, task=name, site=text,
    metrics=st.dictionaries(text, st.floats(allow_nan=False), max_size=4),
    examples=st.none() | st.integers(0, 1 << 62), body=st.binary(max_size=50),
    error=st.none() | errors,
)  # fmt: skip
frames = st.builds(Frame, text, text, st.binary(max_size=50))
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | text
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(tasks)
def test_a_task_comes_back_as_it_was(task: Task) -> None:
    assert notes.read_task(notes.task_note(task), None) == task


@given(results)
def test_a_result_comes_back_as_it_was(result: Result) -> None:
    assert notes.read_result(notes.result_note(result), None) == result


@given(frames)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert notes.read_frame(notes.frame_note(frame)) == frame


def test_metrics_may_be_nan_or_infinite_for_the_guard_to_judge() -> None:
    note = notes.result_note(Result("t", "s", metrics={"a": math.nan, "b": math.inf}))
    assert not notes.finite(notes.read_result(note, None).metrics)


def test_numbers_of_numpy_are_numbers() -> None:
    result = Result("t", "s", metrics={"a": np.float32(0.5), "b": 3, "c": np.int64(4)})
    assert notes.read_result(notes.result_note(result), None).metrics == {"a": 0.5, "b": 3, "c": 4}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in READERS:
        try:
            read(data)
        except InvalidMessage:
            continue


@given(junk, st.sampled_from(["task", "result", "frame"]), st.data())
def test_any_value_in_any_field_is_read_or_refused(value: Any, what: str, data: Any) -> None:
    good = {
        "task": notes.task_note(Task("t", "s", TaskKind.TRAIN)),
        "result": notes.result_note(Result("t", "s")),
        "frame": notes.frame_note(Frame("c", "t", b"")),
    }[what]
    fields = msgpack.unpackb(good)
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    reader = READERS[["task", "result", "frame"].index(what)]
    try:
        reader(msgpack.packb(fields))
    except InvalidMessage:
        return


def changed(**fields: Any) -> bytes:
    note = msgpack.unpackb(notes.task_note(Task("t", "s", TaskKind.TRAIN)))
    return msgpack.packb({**note, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"more": 1},
        {"id": b"t"},
        {"id": ""},
        {"id": "x" * 256},  # no letter's header could carry it
        {"kind": "destroy"},
        {"kind": ["train"]},
        {"round": -1},
        {"round": True},
        {"round": 1 << 31},
        {"config": {"a": [1]}},
        {"config": {"a": None}},
        {"config": [1]},
        {"body": "text"},
    ],
    ids=str,
)
def test_a_task_with_a_field_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    notes.read_task(changed(), None)
    with pytest.raises(InvalidMessage):
        notes.read_task(changed(**fields), None)


def test_a_missing_field_is_refused() -> None:
    note = msgpack.unpackb(changed())
    del note["body"]
    with pytest.raises(InvalidMessage, match="fields"):
        notes.read_task(msgpack.packb(note), None)


def test_bytes_after_a_note_are_refused() -> None:
    with pytest.raises(InvalidMessage):
        notes.read_task(changed() + b"\xc0", None)


@pytest.mark.parametrize("value", [{1}, 1 << 80, [1j]], ids=repr)
def test_a_config_that_cannot_cross_is_the_adapters_error_not_a_crash(value: Any) -> None:
    with pytest.raises(InvalidMessage, match="cannot cross"):
        notes.task_note(Task("t", "s", TaskKind.TRAIN, config={"a": value}))


@pytest.mark.parametrize("value", ["high", None, [1], 1j, 10**400], ids=lambda v: str(v)[:20])
def test_a_metric_that_is_no_number_is_the_workloads_error_not_a_crash(value: Any) -> None:
    with pytest.raises(InvalidMessage, match="metrics"):
        notes.result_note(Result("t", "s", metrics={"loss": value}))
