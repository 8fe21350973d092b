"""Flower messages as tasks and results, and back.

``body`` is msgpack, strict on reading: ``[version, metadata, records]`` for a message with
content (``records`` is the description of :mod:`fedgate_flower.records`), ``[version, metadata,
code, reason]`` for an error. Nothing in it is executed, and every field is checked.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Mapping
from typing import Any

import msgpack
from flwr.app import ConfigRecord, Error, Message, Metadata, MetricRecord, RecordDict

from fedgate.errors import InvalidMessage
from fedgate.guard_rules import METRIC_NAME, METRICS
from fedgate.task import Failure, Result, Task, TaskError, TaskKind
from fedgate_flower._flwr_private import ErrorCode, make_message
from fedgate_flower.records import Lifter, restore

_VERSION = 1
_MOST_REASON = 4000
_MOST_METRICS = METRICS  # what strict guards let through
_LONGEST_NAME = 200
_MAX_ROUND = 1 << 31

_KINDS: Mapping[str, TaskKind] = {
    "train": TaskKind.TRAIN,
    "evaluate": TaskKind.EVALUATE,
    "query": TaskKind.QUERY,
    "get_parameters": TaskKind.QUERY,
    "get_properties": TaskKind.QUERY,
}
_ROUND_KEYS = ("server-round", "server_round", "current_round")
_EXAMPLES = ("num-examples", "num_examples")
_CODES: Mapping[Failure, int] = {
    Failure.WORKLOAD: ErrorCode.CLIENT_APP_CRASHED,
    Failure.UNAVAILABLE: ErrorCode.NODE_UNAVAILABLE,
    Failure.TIMEOUT: ErrorCode.MESSAGE_UNAVAILABLE,
    Failure.REFUSED: ErrorCode.MOD_FAILED_PRECONDITION,
    Failure.CANCELLED: ErrorCode.NODE_UNAVAILABLE,
}


def new_message_id() -> str:
    return os.urandom(16).hex()


def kind_of(message_type: str) -> TaskKind:
    """``train.warmup`` is a kind of training; types of Flower's own plumbing are custom."""
    return _KINDS.get(message_type.partition(".")[0], TaskKind.CUSTOM)


def round_of(message: Message) -> int:
    """The round a message belongs to; 0 where the app does not say."""
    for record in message.content.values():
        if isinstance(record, ConfigRecord):
            for key in _ROUND_KEYS:
                value = record.get(key)
                if type(value) is int and 0 <= value < _MAX_ROUND:
                    return value
    group = message.metadata.group_id
    return int(group) if re.fullmatch(r"[0-9]{1,9}", group) else 0


# -- instructions: coordinator -> site ----------------------------------------------------------


def to_task(message: Message, site: str, lifter: Lifter) -> Task:
    """An instruction as a task; its message id becomes the task's."""
    metadata = message.metadata
    model, records = lifter.take_apart(message.content)
    head = [
        metadata.run_id, metadata.message_id, metadata.src_node_id, metadata.dst_node_id,
        metadata.group_id, float(metadata.created_at), float(metadata.ttl), metadata.message_type,
        metadata.src_task_id, metadata.dst_task_id,
    ]  # fmt: skip
    return Task(
        id=metadata.message_id,
        site=site,
        kind=kind_of(metadata.message_type),
        round=round_of(message),
        name=metadata.message_type,
        model=model,
        body=_pack([_VERSION, head, records]),
    )


def from_task(task: Task) -> Message:
    """The instruction in a task; raises :class:`InvalidMessage`."""
    head, rest = _unpack(task.body, 3)
    if len(head) != 10:
        raise InvalidMessage("an instruction has malformed metadata")
    run, message_id, src, dst, group, created, ttl, kind, src_task, dst_task = head
    metadata = _metadata(
        run_id=_integer(run),
        message_id=_text(message_id),
        src_node_id=_integer(src),
        dst_node_id=_integer(dst),
        reply_to_message_id="",
        group_id=_text(group),
        created_at=_number(created),
        ttl=_number(ttl),
        message_type=_text(kind),
        src_task_id=None if src_task is None else _integer(src_task),
        dst_task_id=None if dst_task is None else _integer(dst_task),
    )
    return make_message(metadata, content=restore(rest[0], task.model))


# -- replies: site -> coordinator ---------------------------------------------------------------


def to_result(reply: Message, task: Task) -> Result:
    """A reply as a result, with what people and policies may read of it in the open."""
    head = [
        float(reply.metadata.created_at),
        float(reply.metadata.ttl),
        reply.metadata.message_type,
    ]
    if reply.has_error():
        error = reply.error
        return error_result(task, error.code, error.reason or "", "the ClientApp replied an error")
    model, records = Lifter().take_apart(reply.content)
    metrics, examples = readable_metrics(reply.content)
    return Result(
        task=task.id,
        site=task.site,
        model=model,
        metrics=metrics,
        examples=examples,
        body=_pack([_VERSION, head, records]),
    )


def error_result(task: Task, code: int, reason: str, open_reason: str) -> Result:
    """A failed task. ``reason`` reaches only the enclave; the gateway may see ``open_reason``.

    The text of an exception can hold a patient's row, so it is kept out of what becomes metadata.
    """
    body = _pack([_VERSION, [], int(code), _clean(reason)[:_MOST_REASON]])
    return Result(
        task.id, task.site, body=body, error=TaskError(Failure.WORKLOAD, _clean(open_reason)[:200])
    )


def from_result(result: Result, asked: Metadata) -> Message:
    """The reply in a result. Who it is from and what it answers is what we know, not what it says.

    Raises :class:`InvalidMessage` for a body that does not parse.
    """
    if result.error is not None:
        return error_reply(asked, *_error_of(result, result.error))
    head, rest = _unpack(result.body, 3)
    if len(head) != 3:
        raise InvalidMessage("a reply has malformed metadata")
    metadata = _reply_metadata(asked, _number(head[0]), _number(head[1]), _text(head[2]))
    return make_message(metadata, content=restore(rest[0], result.model))


def error_reply(asked: Metadata, code: int, reason: str) -> Message:
    """The reply of a node that has none."""
    now = time.time()
    left = max(0.0, asked.created_at + asked.ttl - now)
    metadata = _reply_metadata(asked, now, left, asked.message_type)
    return make_message(metadata, error=Error(code=code, reason=reason))


def expired(metadata: Metadata) -> bool:
    """Has a message outlived its time to live? As flwr's SuperLink asks when it is pulled."""
    return metadata.created_at + metadata.ttl < time.time()


def as_pulled_now(reply: Message, asked: Metadata) -> Message:
    """A reply as flwr hands it out at this moment: one that is too late is an error instead.

    Code and meaning are flwr's (``server/superlink/linkstate/utils.py``); who did not answer in
    time is told, which flwr does not do.
    """
    if expired(asked):
        reason = "the message outlived its time to live"
        return error_reply(asked, ErrorCode.MESSAGE_UNAVAILABLE, reason)
    if expired(reply.metadata):
        reason = "the reply outlived its time to live"
        return error_reply(asked, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, reason)
    return reply


def _reply_metadata(asked: Metadata, created_at: float, ttl: float, message_type: str) -> Metadata:
    return _metadata(
        run_id=asked.run_id,
        message_id=new_message_id(),
        src_node_id=asked.dst_node_id,
        dst_node_id=asked.src_node_id,
        reply_to_message_id=asked.message_id,
        group_id=asked.group_id,
        created_at=created_at,
        ttl=ttl,
        message_type=message_type,
        src_task_id=asked.dst_task_id,
        dst_task_id=asked.src_task_id,
    )


def _error_of(result: Result, error: TaskError) -> tuple[int, str]:
    """Flower's code and reason: what the site's ClientApp gave, else what the runtime says."""
    if error.failure is Failure.WORKLOAD and result.body:
        try:
            _, (code, reason) = _unpack(result.body, 4)
            return _integer(code), _text(reason)[:_MOST_REASON]
        except InvalidMessage:
            pass  # a site that cannot even fail properly is still a failed site
    return _CODES[error.failure], f"{error.failure}: {error.reason}"


# -- metrics --------------------------------------------------------------------------------------


def readable_metrics(content: RecordDict) -> tuple[dict[str, float], int | None]:
    """Finite scalar metrics by name, and the number of examples behind them.

    Legacy replies keep their metrics in a config record ``fitres.metrics``, so numbers of config
    records with such a name count too. A name that occurs twice is told apart by its record's.
    """
    metrics: dict[str, float] = {}
    examples: int | None = None
    for record_name, record in content.items():
        legacy = isinstance(record, ConfigRecord) and record_name.endswith("res.metrics")
        if not isinstance(record, MetricRecord) and not legacy:
            continue
        for key, value in record.items():
            if key in _EXAMPLES and type(value) is int and value >= 0:
                examples = value
            elif (number := finite(value)) is not None and len(metrics) < _MOST_METRICS:
                name = key if key not in metrics else f"{record_name}.{key}"
                if METRIC_NAME.fullmatch(name := name[:_LONGEST_NAME]):
                    metrics[name] = number
    return metrics, examples


def finite(value: object) -> float | None:
    """A plain number as a float; None for lists, booleans, NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


# -- the codec ------------------------------------------------------------------------------------


def _pack(data: list[Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(data)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(
            "a Flower message holds a value that cannot travel",
            why=str(error),
            remedy="integers must fit in 64 bits, and texts must be valid Unicode",
        ) from error
    return packed


def _unpack(body: bytes, length: int) -> tuple[list[Any], list[Any]]:
    """Metadata, and what follows it; every size in ``body`` is bounded by its own length."""
    try:
        data = msgpack.unpackb(body, strict_map_key=True)
    except Exception as error:  # msgpack raises many kinds for damaged bytes
        raise InvalidMessage("a Flower message does not parse", why=repr(error)[:200]) from None
    if not isinstance(data, list) or len(data) != length or data[0] != _VERSION:
        raise InvalidMessage("a Flower message has an unknown form")
    if not isinstance(data[1], list):
        raise InvalidMessage("a Flower message has no metadata")
    return data[1], data[2:]


def _metadata(**fields: Any) -> Metadata:
    try:
        return Metadata(**fields)
    except ValueError as error:  # an impossible message type
        raise InvalidMessage("a Flower message has malformed metadata", why=str(error)) from None


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidMessage("a Flower message has a field that should be text")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise InvalidMessage("a Flower message has a field that should be an integer")
    return value


def _number(value: object) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise InvalidMessage("a Flower message has a field that should be a finite number")
    return value
