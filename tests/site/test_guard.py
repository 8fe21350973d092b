"""The egress guard: what leaves a site is what its owner's rules allow, and nothing in disguise."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fedgate.codes import SENTENCES
from fedgate.errors import Denied
from fedgate.guard_rules import STRICT, GuardRules
from fedgate.model import ITEMSIZE, Model
from fedgate.notice import public
from fedgate.task import Failure, Frame, Result, Task, TaskError, TaskKind
from fedgate_gateway.config import Guard
from fedgate_gateway.site import guard as module
from fedgate_gateway.site.guard import EgressGuard, Flooded, GuardRefused, denied


def packed(**arrays: Any) -> memoryview:
    return memoryview(Model.from_numpy({k: np.asarray(v) for k, v in arrays.items()}).to_bytes())


#: Every setting as loose as it goes, for tests that are about something else.
OPEN = {"arrays": "unchecked", "dtypes": tuple(ITEMSIZE)}


def asked(rules: Guard, kind: TaskKind = TaskKind.TRAIN, sent: Any = None) -> EgressGuard:
    guard = EgressGuard(rules)
    guard.remember(Task("t", "a", kind), sent)
    return guard


def check(model: memoryview | None = None, result: Result | None = None, **rules: Any) -> None:
    asked(Guard(**{"train": OPEN, **rules})).check_result(result or Result("t", "a"), model)


def bfloat(*values: float) -> np.ndarray:
    return np.array(values, ml_dtypes.bfloat16)


GOOD = [
    np.ones(5, np.float32),
    np.ones((), np.float64),
    np.zeros((0, 3), np.float32),
    np.array([1 + 2j], np.complex64),
    np.arange(9),
    np.array([True]),
    bfloat(1, 2, 3),
    np.array([np.finfo(np.float64).max]),
]
BAD = [
    np.array([1, np.nan], np.float32),
    np.array([np.inf], np.float16),
    np.array([-np.inf], np.float64),
    np.array(np.nan, np.float64),
    np.array([complex(0, np.nan)], np.complex64),
    bfloat(1, np.nan),
    bfloat(np.inf),
    np.array([[1, 2], [3, np.nan]]),
]


@pytest.mark.parametrize("array", GOOD, ids=lambda a: f"{a.dtype}{a.shape}")
def test_finite_tensors_pass(array: np.ndarray) -> None:
    check(packed(w=array))


@pytest.mark.parametrize("array", BAD, ids=lambda a: f"{a.dtype}{a.shape}")
def test_nan_and_infinity_are_refused_in_every_dtype_by_the_tensors_name(array: Any) -> None:
    with pytest.raises(Denied, match="tensor 'w' of the result holds NaN or infinity"):
        check(packed(fine=[1.0], w=array))
    check(packed(w=array), finite=False)


@pytest.mark.parametrize("position", [0, 99_999, -1])
def test_one_bad_number_is_found_wherever_it_stands(
    position: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 1000)
    array = np.ones(100_003, np.float32)
    array[position] = np.nan
    with pytest.raises(Denied):
        check(packed(w=array))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metrics_must_be_finite_too(value: float) -> None:
    with pytest.raises(Denied, match="metrics"):
        check(result=Result("t", "a", metrics={"loss": value}))


@pytest.mark.parametrize("bad", [b"", b"garbage", b"\0" * 64])
def test_bytes_that_are_no_model_are_refused(bad: bytes) -> None:
    with pytest.raises(Denied, match="malformed"):
        check(memoryview(bad))


def test_a_model_with_something_hidden_behind_it_is_refused() -> None:
    with pytest.raises(Denied, match="malformed"):
        check(memoryview(bytes(packed(w=[1.0])) + b"patient records"))


def test_a_model_beyond_the_limit_is_refused() -> None:
    model = packed(w=np.ones(1000))
    check(model, result_bytes=len(model))
    with pytest.raises(Denied, match="result_bytes"):
        check(model, result_bytes=len(model) - 1)


@pytest.mark.parametrize(
    "result",
    [
        Result("t", "a", body=b"x" * 101),
        Result("t", "a", metrics={"x" * 101: 0.0}),
        Result("t", "a", metrics={f"record {n}": 0.0 for n in range(20)}),
        Result("t", "a", error=TaskError(Failure.WORKLOAD, "x" * 101)),
    ],
    ids=["body", "a metric's name", "many metrics", "a reason"],
)
def test_the_cap_on_what_cannot_be_read_holds_wherever_it_is_hidden(result: Result) -> None:
    with pytest.raises(Denied, match="opaque part"):
        check(result=result, train={"body_bytes": 100})


# -- what each kind of result may hold ------------------------------------------------------------

SENT = packed(w=np.ones((2, 3), np.float32), b=np.ones(3, np.float32), n=np.array(7))
TRAIN, EVALUATE, QUERY, CUSTOM = TaskKind
ONE = Result("t", "a")


def refused(
    kind: TaskKind,
    model: memoryview | None = None,
    result: Result = ONE,
    sent: Any = SENT,
    **rules: Any,
) -> str:
    """The rule by which a guard refuses; what it tells others quotes nothing."""
    with pytest.raises(GuardRefused) as error:
        asked(Guard(**rules), kind, sent).check_result(result, model)
    told = denied(error.value)
    assert told == f"the site's egress guard: {SENTENCES[public(error.value).code]}"
    assert error.value.rule in told or error.value.rule in ("guard.model", "guard.task")
    return error.value.rule


def test_a_training_result_like_its_task_passes_in_any_order_and_any_float_in_parts() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        asked(Guard(), TRAIN, SENT).check_result(
            ONE, packed(b=np.zeros(3, dtype), w=np.zeros((2, 3), dtype))
        )


@pytest.mark.parametrize("kind", [TRAIN, CUSTOM])
@pytest.mark.parametrize(
    "model",
    [
        packed(w=np.ones((2, 3), np.float32), c=np.ones(1)),
        packed(w=np.ones((3, 2), np.float32)),
        packed(w=np.ones((2, 3), np.int32)),
        packed(v=np.ones((2, 3), np.float32)),
        packed(csv=np.frombuffer(b"age,diagnosis\n71,C50", np.uint8)),
    ],
    ids=["a tensor more", "another shape", "another sort", "another name", "a file"],
)
def test_a_training_result_of_another_shape_is_refused(kind: TaskKind, model: memoryview) -> None:
    assert refused(kind, model) == f"guard.{kind}.arrays"
    assert refused(kind, model, sent=None) == f"guard.{kind}.arrays"


def test_what_a_guard_does_without_a_word_of_its_owner_is_what_everybody_calls_strict() -> None:
    """`site status`, `site list` and the check of a submission go by the second."""
    assert Guard().rules() == GuardRules()
    assert Guard().rules().unusual() == ()
    arrays = {kind: rules.arrays for kind, rules in STRICT.items()}
    assert arrays == {TRAIN: "like-task", EVALUATE: "none", QUERY: "none", CUSTOM: "like-task"}


@pytest.mark.parametrize("kind", [EVALUATE, QUERY])
def test_an_answer_that_needs_no_model_carries_none_even_one_like_its_task(kind: TaskKind) -> None:
    assert refused(kind, SENT) == f"guard.{kind}.arrays"
    asked(Guard(), kind, SENT).check_result(Result("t", "a", metrics={"loss": 1.0}), None)


def test_what_an_owner_opens_is_open_for_one_kind_and_to_the_degree_that_they_say() -> None:
    other, seen = packed(other=np.ones(5)), packed(w=np.ones((2, 3)))
    asked(Guard(query={"arrays": "unchecked"}), QUERY).check_result(ONE, other)
    assert refused(EVALUATE, other, query={"arrays": "unchecked"}) == "guard.evaluate.arrays"
    assert refused(QUERY, seen, sent=None, query={"arrays": "like-task"}) == "guard.query.arrays"
    assert refused(QUERY, other, query={"arrays": "like-job"}) == "guard.query.arrays"
    guard = EgressGuard(Guard(query={"arrays": "like-job"}))
    guard.remember(Task("earlier", "a", TRAIN), SENT)
    guard.remember(Task("t", "a", QUERY), None)
    guard.check_result(ONE, seen)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.bool_, np.uint16, np.complex64])
def test_dtypes_that_can_be_a_file_must_be_listed_also_where_the_task_has_them(dtype: Any) -> None:
    blob = packed(w=np.zeros(100, dtype))
    assert refused(TRAIN, blob, sent=blob) == "guard.train.dtypes"
    name = next(iter(Model.parse(blob).values())).dtype
    asked(Guard(train={"dtypes": [name]}), TRAIN, blob).check_result(ONE, blob)
    with pytest.raises(ValueError, match="one of"):
        Guard(train={"dtypes": ["object"]})


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_body_is_small_and_has_room_for_the_names_of_the_arrays_that_it_describes(kind) -> None:
    asked(Guard(), kind).check_result(Result("t", "a", body=b"." * (64 << 10)), None)
    large = Result("t", "a", body=b"." * ((64 << 10) + 1))
    assert refused(kind, result=large) == f"guard.{kind}.body_bytes"
    asked(Guard(), TRAIN, SENT).check_result(large, SENT)
    assert (
        refused(TRAIN, SENT, Result("t", "a", body=b"." * (66 << 10))) == "guard.train.body_bytes"
    )


def test_metadata_of_a_model_counts_as_what_cannot_be_read() -> None:
    said = Model(Model.parse(SENT).tensors, {"note": "patient" * 10_000}).to_bytes()
    assert refused(TRAIN, memoryview(said)) == "guard.train.body_bytes"


def test_a_header_that_says_something_with_its_blanks_is_refused() -> None:
    length = int.from_bytes(SENT[:8], "little")
    header = bytes(SENT[8 : 8 + length]) + b" \t\t \t   " * 8
    model = len(header).to_bytes(8, "little") + header + bytes(SENT[8 + length :])
    assert Model.parse(model).signature() == Model.parse(SENT).signature()
    assert refused(TRAIN, memoryview(model)) == "guard.model"


@pytest.mark.parametrize(
    ("result", "rule"),
    [
        (Result("t", "a", metrics={f"m{n}": 0.0 for n in range(1000)}), "metrics"),
        (Result("t", "a", metrics={"Müller, 71, C50": 1.0}), "metrics"),
        (Result("t", "a", metrics={"x" * 201: 1.0}), "metrics"),
        (Result("t", "a", metrics={"": 1.0}), "metrics"),
        (Result("t", "a", examples=1 << 62), "metrics"),
    ],
)
@pytest.mark.parametrize("kind", list(TaskKind))
def test_metrics_and_examples_are_bounded(kind: TaskKind, result: Result, rule: str) -> None:
    assert refused(kind, result=result) == f"guard.{kind}.{rule}"


def test_a_result_for_nothing_that_was_asked_is_refused() -> None:
    guard = asked(Guard())
    guard.check_result(ONE, None)
    with pytest.raises(GuardRefused) as error:
        guard.check_result(ONE, None)
    assert error.value.rule == "guard.task"


# -- opaque frames ------------------------------------------------------------------------------


def test_no_frame_leaves_unless_the_owner_lists_it() -> None:
    with pytest.raises(Denied, match=r"guard\.frames"):
        EgressGuard(Guard()).check_frame(Frame("aux", "hello", b""))
    EgressGuard(Guard(frames=("aux:hello",))).check_frame(Frame("aux", "hello", b""))


@pytest.mark.parametrize(
    ("channel", "topic"), [("aux", "hello2"), ("aux", "hell"), ("au", "x:hello"), ("", "aux:hello")]
)
def test_a_name_that_only_looks_like_a_listed_one_is_refused(channel: str, topic: str) -> None:
    guard = EgressGuard(Guard(frames=("aux:hello",)))
    with pytest.raises(Denied):
        guard.check_frame(Frame(channel, topic, b""))


@pytest.mark.parametrize("frame", [Frame("aux", "x", b"." * 50), Frame("aux", "x" * 50, b"")])
def test_frames_of_a_job_are_capped_in_sum_names_included(frame: Frame) -> None:
    guard = EgressGuard(Guard(frames=("aux:*",), frame_bytes=240))
    guard.check_frame(frame)
    guard.check_frame(frame)
    with pytest.raises(Flooded, match="frame_bytes"):
        guard.check_frame(frame)


def test_a_flood_of_empty_frames_is_one_too() -> None:
    guard = EgressGuard(Guard(frames=("a:*",), frame_bytes=64 * 1024))
    with pytest.raises(Flooded):
        deque(guard.check_frame(Frame("a", "", b"")) for _ in range(1024))


def test_a_header_that_lies_about_its_tensor_is_refused() -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()
    lie = len(header).to_bytes(8, "little") + header + bytes(4)
    with pytest.raises(Denied, match="malformed"):
        check(memoryview(lie))
