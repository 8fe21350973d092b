"""What crosses between a grid and a worker, and what happens when a peer lies."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Model, Tensor
from fedgate.task import Failure, Result, Task, TaskError, TaskKind
from fedgate_flower._flwr_private import ErrorCode, set_message_id
from fedgate_flower.messages import (
    error_result,
    from_result,
    from_task,
    kind_of,
    readable_metrics,
    round_of,
    to_result,
    to_task,
)
from fedgate_flower.records import Lifter

pytestmark = pytest.mark.usefixtures("flower_identity")


def instruction(**config: Any) -> Message:
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(np.arange(4, dtype=np.float32))}),
            "config": ConfigRecord({"server-round": 3, **config}),
        }
    )
    message = Message(content, 4242, "train", ttl=60)
    set_message_id(message, "id-1")
    return message


def answered(message: Message) -> tuple[Task, Result]:
    task = to_task(message, "site-1", Lifter())
    received = from_task(task)
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(received.content["arrays"]["w"].numpy() + 1)}),
            "metrics": MetricRecord({"loss": 0.5, "num-examples": 10}),
        }
    )
    return task, to_result(Message(content, reply_to=received), task)


def test_an_instruction_arrives_as_it_was_sent() -> None:
    message = instruction(lr=0.1)
    task = to_task(message, "site-1", Lifter())
    assert (task.id, task.site, task.kind, task.round) == ("id-1", "site-1", TaskKind.TRAIN, 3)
    received = from_task(task)
    sent, got = vars(message.metadata), vars(received.metadata)
    assert {k: v for k, v in sent.items() if k != "_delivered_at"} == {
        k: v for k, v in got.items() if k != "_delivered_at"
    }
    assert dict(received.content["config"]) == {"server-round": 3, "lr": 0.1}


def test_a_reply_arrives_with_its_metrics_in_the_open() -> None:
    message = instruction()
    _, result = answered(message)
    assert (dict(result.metrics), result.examples) == ({"loss": 0.5}, 10)
    reply = from_result(result, message.metadata)
    assert reply.metadata.src_node_id == 4242
    assert reply.metadata.dst_node_id == 1
    assert reply.metadata.reply_to_message_id == "id-1"
    assert reply.content["arrays"]["w"].numpy().tolist() == [1, 2, 3, 4]


def test_a_site_cannot_answer_in_the_name_of_another_or_of_another_question() -> None:
    """Whatever a body claims about sender and question, the enclave's own knowledge counts."""
    message, other = instruction(), instruction()
    set_message_id(other, "id-2")
    other.metadata.dst_node_id = 5151
    _, result = answered(other)
    reply = from_result(result, message.metadata)
    assert (reply.metadata.src_node_id, reply.metadata.reply_to_message_id) == (4242, "id-1")


@pytest.mark.parametrize(
    ("message_type", "kind"),
    [
        ("train", TaskKind.TRAIN), ("train.warmup", TaskKind.TRAIN),
        ("evaluate", TaskKind.EVALUATE), ("query", TaskKind.QUERY), ("query.x", TaskKind.QUERY),
        ("get_parameters", TaskKind.QUERY), ("get_properties", TaskKind.QUERY),
        ("reconnect", TaskKind.CUSTOM), ("system", TaskKind.CUSTOM),
    ],
)  # fmt: skip
def test_message_types_are_kinds_of_tasks(message_type: str, kind: TaskKind) -> None:
    assert kind_of(message_type) is kind


@pytest.mark.parametrize(
    ("config", "group", "number"),
    [
        ({"server-round": 7}, "", 7), ({"server_round": 7}, "", 7), ({"current_round": 7}, "", 7),
        ({}, "12", 12), ({}, "phase-1", 0), ({"server-round": -1}, "", 0),
        ({"server-round": "7"}, "", 0), ({"server-round": True}, "", 0), ({}, "9" * 40, 0),
    ],
)  # fmt: skip
def test_the_round_is_read_from_config_or_group(
    config: dict[str, Any], group: str, number: int
) -> None:
    content = RecordDict({"config": ConfigRecord(config)})
    assert round_of(Message(content, 5, "train", group_id=group)) == number


def test_legacy_metrics_are_readable_and_lists_and_nan_are_not() -> None:
    content = RecordDict(
        {
            "fitres.num_examples": MetricRecord({"num_examples": 8}),
            "fitres.metrics": ConfigRecord({"acc": 0.5, "name": "x", "ok": True}),
            "fitres.status": ConfigRecord({"code": 0}),
            "m": MetricRecord({"nan": float("nan"), "list": [1.0], "acc": 0.25}),
        }
    )
    assert readable_metrics(content) == ({"acc": 0.5, "m.acc": 0.25}, 8)


# -- errors ----


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.WORKLOAD, ErrorCode.CLIENT_APP_CRASHED),
        (Failure.UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE),
        (Failure.TIMEOUT, ErrorCode.MESSAGE_UNAVAILABLE),
        (Failure.REFUSED, ErrorCode.MOD_FAILED_PRECONDITION),
        (Failure.CANCELLED, ErrorCode.NODE_UNAVAILABLE),
    ],
)
def test_failures_of_the_runtime_are_flowers_error_replies(failure: Failure, code: int) -> None:
    message = instruction()
    result = Result("id-1", "site-1", error=TaskError(failure, "because"))
    reply = from_result(result, message.metadata)
    assert reply.has_error()
    assert reply.error.code == code
    assert "because" in (reply.error.reason or "")


def test_the_text_of_an_exception_reaches_the_enclave_and_not_the_open_reason() -> None:
    task = to_task(instruction(), "site-1", Lifter())
    secret = "patient 4711 has diabetes"
    result = error_result(task, 2, secret, "the ClientApp raised ValueError")
    assert result.error is not None
    assert secret not in result.error.reason
    reply = from_result(result, instruction().metadata)
    assert (reply.error.code, reply.error.reason) == (2, secret)


@pytest.mark.parametrize("body", [b"", b"\xc1", msgpack.packb([1, [], "x", "y"]), b"\x00" * 99])
def test_a_failure_with_a_damaged_body_is_still_that_failure(body: bytes) -> None:
    result = Result("id-1", "s", body=body, error=TaskError(Failure.WORKLOAD, "it raised"))
    reply = from_result(result, instruction().metadata)
    assert reply.error.code == ErrorCode.CLIENT_APP_CRASHED


# -- lies ----


def forged(result: Result, change: Any) -> Result:
    body = msgpack.unpackb(result.body)
    change(body)
    return replace(result, body=msgpack.packb(body))


ATTACKS: dict[str, Any] = {
    "another version": lambda b: b.__setitem__(0, 2),
    "no metadata": lambda b: b.__setitem__(1, None),
    "short metadata": lambda b: b[1].pop(),
    "time is NaN": lambda b: b[1].__setitem__(0, float("nan")),
    "impossible type": lambda b: b[1].__setitem__(2, "explode"),
    "type is no text": lambda b: b[1].__setitem__(2, 5),
    "records are a map": lambda b: b.__setitem__(2, {}),
    "unknown kind": lambda b: b[2][0].__setitem__(1, 9),
    "record twice": lambda b: b[2].append(b[2][1]),
    "array undescribed": lambda b: b[2][0][2].pop(),
    "array twice": lambda b: b[2][0][2].append(b[2][0][2][0]),
    "array renamed": lambda b: b[2][0][2][0].__setitem__(0, "v"),
    "shape negative": lambda b: b[2][0][2][0].__setitem__(2, [-1]),
    "shape absurd": lambda b: b[2][0][2][0].__setitem__(2, [1] * 65),
    "opaque but typed": lambda b: b[2][0][2][0].__setitem__(4, True),
    "header of another shape": lambda b: b[2][0][2][0].__setitem__(
        5, Array(np.zeros(3, np.float32)).data[:128]
    ),
    "header of another dtype": lambda b: b[2][0][2][0].__setitem__(
        5, Array(np.zeros(4, np.int32)).data[:128]
    ),
    "header with a tail": lambda b: b[2][0][2][0].__setitem__(
        5, Array(np.zeros(4, np.float32)).data
    ),
    "header is text": lambda b: b[2][0][2][0].__setitem__(5, "x"),
    "metric is text": lambda b: b[2][1][2][0].__setitem__(1, "x"),
    "metric is a map": lambda b: b[2][1][2][0].__setitem__(1, {}),
    "metric is nested": lambda b: b[2][1][2][0].__setitem__(1, [[1.0]]),
    "metric twice": lambda b: b[2][1][2].append(b[2][1][2][0]),
    "key is a number": lambda b: b[2][1][2][0].__setitem__(0, 3),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_forged_reply_is_refused_with_an_error_of_ours(attack: str) -> None:
    message = instruction()
    _, result = answered(message)
    with pytest.raises(InvalidMessage):
        from_result(forged(result, ATTACKS[attack]), message.metadata)


def test_a_reply_with_tensors_that_it_does_not_describe_is_refused() -> None:
    message = instruction()
    _, result = answered(message)
    assert result.model is not None
    hidden = Tensor("U8", (3,), memoryview(b"abc"))
    smuggled = Model({**result.model.tensors, "arrays/hidden": hidden})
    with pytest.raises(InvalidMessage, match="different arrays"):
        from_result(replace(result, model=smuggled), message.metadata)
    with pytest.raises(InvalidMessage):
        from_result(replace(result, model=None), message.metadata)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_damage_to_a_body_escapes_as_a_foreign_exception(data: st.DataObject) -> None:
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 77, 1, 1
    message = instruction()
    task, result = answered(message)
    body = bytearray(result.body)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for damaged in (bytes(body), bytes(body[:cut]), bytes(body) + b"\x00"):
        with contextlib.suppress(FedgateError):
            from_result(replace(result, body=damaged), message.metadata)
    with contextlib.suppress(FedgateError):
        from_task(replace(task, body=bytes(body)))


def test_a_deeply_nested_body_is_refused() -> None:
    _, result = answered(instruction())
    bomb = b"\x91" * 100_000 + b"\x90"
    with pytest.raises(InvalidMessage):
        from_result(replace(result, body=bomb), instruction().metadata)


def test_integers_that_no_wire_carries_are_named_as_the_cause() -> None:
    message = instruction(huge=1 << 70)
    with pytest.raises(InvalidMessage, match="64 bits"):
        to_task(message, "site-1", Lifter())
