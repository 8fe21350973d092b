"""Notes: everything of a task or a result but its model, as strict msgpack.

A note is small and differs from site to site; a model is large and often the same for all. They
travel apart so that a shared model is encoded and sealed once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgpack

from fedgate.errors import InvalidMessage
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError, TaskKind

MAX_NOTE = 1 << 30
_MAX_STRING = 1 << 20
_MAX_ITEMS = 100_000
_MAX_ID, MAX_ROUND = 255, (1 << 31) - 1


def task_note(task: Task) -> bytes:
    return _pack(
        {
            "id": _id(task.id),
            "site": task.site,
            "kind": str(task.kind),
            "round": _count(task.round, MAX_ROUND),
            "name": task.name,
            "config": dict(task.config),
            "body": task.body,
        }
    )


def read_task(note: bytes | memoryview, model: Model | None) -> Task:
    data = _unpack(note, {"id", "site", "kind", "round", "name", "config", "body"})
    return Task(
        id=_id(data["id"]),
        site=_text(data["site"]),
        kind=_kind(data["kind"]),
        round=_count(data["round"], MAX_ROUND),
        name=_text(data["name"]),
        model=model,
        config=_scalars(data["config"]),
        body=_bytes(data["body"]),
    )


def result_note(result: Result) -> bytes:
    error = None if result.error is None else [str(result.error.failure), result.error.reason]
    return _pack(
        {
            "task": _id(result.task),
            "site": result.site,
            "metrics": _floats(result.metrics),
            "examples": None if result.examples is None else _count(result.examples),
            "body": result.body,
            "error": error,
        }
    )


def read_result(note: bytes | memoryview, model: Model | None) -> Result:
    data = _unpack(note, {"task", "site", "metrics", "examples", "body", "error"})
    return Result(
        task=_id(data["task"]),
        site=_text(data["site"]),
        model=model,
        metrics=_numbers(data["metrics"]),
        examples=None if data["examples"] is None else _count(data["examples"]),
        body=_bytes(data["body"]),
        error=_error(data["error"]),
    )


def frame_note(frame: Frame) -> bytes:
    return _pack({"channel": frame.channel, "topic": frame.topic, "body": frame.body})


def read_frame(note: bytes | memoryview) -> Frame:
    data = _unpack(note, {"channel", "topic", "body"})
    return Frame(_text(data["channel"]), _text(data["topic"]), _bytes(data["body"]))


def _pack(data: Mapping[str, Any]) -> bytes:
    try:
        packed = msgpack.packb(data)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(
            "a task or result holds values that cannot cross",
            why=str(error),
            remedy="use numbers, strings and booleans in config and metrics",
        ) from error
    if not isinstance(packed, bytes) or len(packed) > MAX_NOTE:
        raise InvalidMessage("a task or result is too large", why=f"more than {MAX_NOTE} bytes")
    return packed


def _unpack(note: bytes | memoryview, keys: set[str]) -> dict[str, Any]:
    try:
        data = msgpack.unpackb(
            note, strict_map_key=True, max_map_len=_MAX_ITEMS, max_str_len=_MAX_STRING
        )
    except Exception as error:
        raise InvalidMessage("a task or result does not parse", why=repr(error)) from error
    if not isinstance(data, dict) or set(data) != keys:
        raise InvalidMessage("a task or result has unexpected fields")
    return data


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidMessage("a text was expected", why=f"got {type(value).__name__}")
    return value


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise InvalidMessage("bytes were expected", why=f"got {type(value).__name__}")
    return value


def _id(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= _MAX_ID:
        raise InvalidMessage(
            "a task's id must be a short text", why=f"{value!r:.80}; at most {_MAX_ID} bytes"
        )
    return value


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in metrics.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage("metrics must map names to numbers", why=str(error)) from error


def _count(value: Any, largest: int = (1 << 63) - 1) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise InvalidMessage("a count was expected", why=f"got {value!r}"[:100])
    return value


def _kind(value: Any) -> TaskKind:
    try:
        return TaskKind(value)
    except ValueError:
        raise InvalidMessage("unknown kind of task", why=repr(value)[:100]) from None


def _scalars(value: Any) -> dict[str, bool | int | float | str]:
    if not isinstance(value, dict) or any(
        not isinstance(k, str) or not isinstance(v, bool | int | float | str)
        for k, v in value.items()
    ):
        raise InvalidMessage("a task's config must map names to scalars")
    return value


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or any(
        not isinstance(k, str) or not isinstance(v, float) for k, v in value.items()
    ):
        raise InvalidMessage("metrics must map names to numbers")
    return value


def _error(value: Any) -> TaskError | None:
    if value is None:
        return None
    try:
        failure, reason = value
        return TaskError(Failure(failure), _text(reason)[:10_000])
    except (TypeError, ValueError) as error:
        raise InvalidMessage("malformed error in a result", why=repr(error)) from error


def finite(metrics: Mapping[str, float]) -> bool:
    return all(math.isfinite(v) for v in metrics.values())
