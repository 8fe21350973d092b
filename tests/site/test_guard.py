"""The egress guard: what leaves a site is what its owner's rules allow, and nothing in disguise."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fedgate.errors import Denied
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError, TaskKind
from fedgate_gateway.config import Guard
from fedgate_gateway.site import guard as module
from fedgate_gateway.site.guard import EgressGuard, Flooded


def packed(**arrays: Any) -> memoryview:
    return memoryview(Model.from_numpy({k: np.asarray(v) for k, v in arrays.items()}).to_bytes())


def check(model: memoryview | None = None, result: Result | None = None, **rules: Any) -> None:
    EgressGuard(Guard(**rules)).check_result(result or Result("t", "a"), model)


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
        check(result=result, body_bytes=100)


# -- the shape of the task's model --------------------------------------------------------------


def matching() -> EgressGuard:
    guard = EgressGuard(Guard(match="signature"))
    task = Task("t", "a", TaskKind.TRAIN)
    guard.remember(task, packed(w=np.ones((2, 3), np.float32), b=np.ones(3, np.float32)))
    return guard


def test_a_result_of_the_tasks_shape_passes_in_any_order() -> None:
    matching().check_result(
        Result("t", "a"), packed(b=np.zeros(3, np.float32), w=np.zeros((2, 3), np.float32))
    )


@pytest.mark.parametrize(
    "model",
    [
        packed(w=np.ones((2, 3), np.float32)),
        packed(w=np.ones((2, 3), np.float32), b=np.ones(3, np.float32), c=np.ones(1)),
        packed(w=np.ones((3, 2), np.float32), b=np.ones(3, np.float32)),
        packed(w=np.ones((2, 3), np.float64), b=np.ones(3, np.float32)),
        packed(v=np.ones((2, 3), np.float32), b=np.ones(3, np.float32)),
    ],
    ids=["a tensor less", "a tensor more", "another shape", "another dtype", "another name"],
)
def test_a_result_of_another_shape_is_refused(model: memoryview) -> None:
    with pytest.raises(Denied, match="differs in shape"):
        matching().check_result(Result("t", "a"), model)


def test_only_train_tasks_and_only_where_the_owner_says_so_are_compared() -> None:
    for rules, kind in ((Guard(), TaskKind.TRAIN), (Guard(match="signature"), TaskKind.EVALUATE)):
        guard = EgressGuard(rules)
        guard.remember(Task("t", "a", kind), packed(w=[1.0]))
        guard.check_result(Result("t", "a"), packed(other=[1.0, 2.0]))


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
