"""The grid that a ServerApp sees, on a federation in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from fedgate.errors import DeadlineExceeded
from fedgate.task import Result, Task, TaskKind
from fedgate_flower import identity
from fedgate_flower._flwr_private import ErrorCode, Run
from fedgate_flower.grid import FederationGrid
from fedgate_flower.ledger import Ledger
from fedgate_flower.messages import from_task, to_result
from fedgate_flower.outcome import Outcome
from fedgate_flower.waiting import NodeWait

pytestmark = pytest.mark.usefixtures("flower_identity")

SITES = ("north", "south", "west")
NODES = identity.node_ids("job", SITES)


def echo(seconds: float = 0, add: float = 0) -> Callable[[Task], Result]:
    def answer(task: Task) -> Result:
        time.sleep(seconds)
        message = from_task(task)
        weights = message.content["arrays"]["w"].numpy() + add
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(weights)}),
                "metrics": MetricRecord({"num-examples": 1}),
            }
        )
        return to_result(Message(content, reply_to=message), task)

    return answer


class World:
    """A grid with everything around it."""

    def __init__(self, federation: Any) -> None:
        self.federation = federation
        self.ledger = Ledger()
        self.errors: list[BaseException] = []
        self.wait = NodeWait(0.05, self.errors.append)
        self.grid = FederationGrid(
            federation, Run.create_empty(77), NODES,
            wait=self.wait, ledger=self.ledger, outcome=Outcome(federation),
        )  # fmt: skip

    def messages(self, kind: str = "train", ttl: float | None = None) -> list[Message]:
        content = RecordDict(
            {
                "arrays": ArrayRecord({"w": Array(np.zeros(3))}),
                "config": ConfigRecord({"server-round": 1}),
            }
        )
        return [Message(content, node, kind, ttl=ttl) for node in NODES.values()]


@pytest.fixture
def world(memory_federation: Callable[[Mapping[str, Any]], Any]) -> Callable[..., World]:
    def make(**answers: Callable[[Task], Result]) -> World:
        return World(memory_federation({site: answers.get(site, echo()) for site in SITES}))

    return make


def test_nodes_are_the_online_sites_by_name_in_the_order_of_the_roster(
    world: Callable[..., World],
) -> None:
    here = world()
    assert [n.name for n in here.grid.get_nodes()] == list(SITES)
    assert list(here.grid.get_node_ids()) == list(NODES.values())
    here.federation.offline = {"south"}
    assert [n.name for n in here.grid.get_nodes()] == ["north", "west"]


def test_replies_come_in_the_order_of_dispatch_whichever_site_is_first(
    world: Callable[..., World],
) -> None:
    here = world(north=echo(0.08), south=echo(0.04))
    for order in ((0, 1, 2), (2, 0, 1)):
        messages = here.messages()
        replies = list(here.grid.send_and_receive([messages[i] for i in order]))
        asked = [list(NODES.values())[i] for i in order]
        assert [r.metadata.src_node_id for r in replies] == asked


def test_one_broadcast_is_one_model_object(world: Callable[..., World]) -> None:
    here = world()
    here.grid.send_and_receive(here.messages())
    models = [task.model for task in here.federation.tasks]
    assert len(models) == 3
    assert len(set(map(id, models))) == 1


def test_evaluation_and_the_next_training_share_the_model_too(world: Callable[..., World]) -> None:
    here = world()
    evaluate, train = here.messages("evaluate"), here.messages("train")
    for a, b in zip(evaluate, train, strict=True):
        b.content["arrays"] = a.content["arrays"]
    here.grid.send_and_receive(evaluate)
    here.grid.send_and_receive(train)
    assert len({id(task.model) for task in here.federation.tasks}) == 1


def test_tasks_say_their_round_kind_and_name(world: Callable[..., World]) -> None:
    here = world()
    here.grid.send_and_receive(here.messages("train"))
    task = here.federation.tasks[0]
    assert (task.kind, task.round, task.name) == (TaskKind.TRAIN, 1, "train")
    assert list(task.model) == ["arrays/w"]


def test_a_site_that_is_gone_gets_flowers_error_reply(world: Callable[..., World]) -> None:
    here = world()
    here.federation.offline = {"south"}
    replies = list(here.grid.send_and_receive(here.messages()))
    assert [r.has_error() for r in replies] == [False, True, False]
    assert replies[1].error.code == ErrorCode.NODE_UNAVAILABLE


def test_a_node_that_nobody_knows_gets_an_error_reply_and_no_task(
    world: Callable[..., World],
) -> None:
    here = world()
    message = Message(RecordDict(), 12345, "query")
    (reply,) = here.grid.send_and_receive([message])
    assert reply.error.code == ErrorCode.NODE_UNAVAILABLE
    assert here.federation.tasks == []


def test_a_reply_later_than_the_timeout_is_left_out_as_in_flower(
    world: Callable[..., World],
) -> None:
    here = world(west=echo(60))
    replies = list(here.grid.send_and_receive(here.messages(), timeout=2))
    assert [r.metadata.src_node_id for r in replies] == [NODES["north"], NODES["south"]]


def test_a_message_that_outlives_its_time_to_live_gets_an_error_reply(
    world: Callable[..., World],
) -> None:
    here = world(west=echo(60))
    messages = here.messages(ttl=2)
    replies = list(here.grid.send_and_receive(messages))
    assert 0 < here.federation.deadlines[0] <= 2
    assert [r.has_error() for r in replies] == [False, False, True]
    assert replies[2].error.code == ErrorCode.MESSAGE_UNAVAILABLE


def test_replies_that_are_pulled_too_late_are_errors_as_in_flower(
    world: Callable[..., World],
) -> None:
    def short(task: Task) -> Result:
        message = from_task(task)
        return to_result(Message(RecordDict(), reply_to=message, ttl=0.2), task)

    here = world(south=short)
    messages = here.messages(ttl=60)
    messages[2] = here.messages(ttl=0.3)[2]
    ids = list(here.grid.push_messages(messages))
    time.sleep(0.4)
    replies: dict[int, Message] = {}
    while len(replies) < 3:
        replies |= {r.metadata.src_node_id: r for r in here.grid.pull_messages(ids)}
        time.sleep(0.01)
    assert replies[NODES["north"]].has_content()
    assert replies[NODES["south"]].error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
    assert replies[NODES["west"]].error.code == ErrorCode.MESSAGE_UNAVAILABLE
    assert [replies[NODES[s]].metadata.reply_to_message_id for s in SITES] == ids


def test_a_reply_in_time_counts_although_another_site_was_late(world: Callable[..., World]) -> None:
    here = world(north=echo(60))
    replies = list(here.grid.send_and_receive(here.messages(ttl=3)))
    assert [r.has_error() for r in replies] == [True, False, False]


def test_messages_with_different_times_to_live_keep_their_order(
    world: Callable[..., World],
) -> None:
    here = world(north=echo(0.05))
    messages = here.messages(ttl=20)
    messages[1] = here.messages(ttl=10)[1]
    replies = list(here.grid.send_and_receive(messages))
    assert [r.metadata.src_node_id for r in replies] == list(NODES.values())
    assert len(here.federation.deadlines) == 2


def test_pushed_messages_are_pulled_once_as_they_arrive(world: Callable[..., World]) -> None:
    others_are_there = threading.Event()

    def last(task: Task) -> Result:
        others_are_there.wait(60)
        return echo()(task)

    here = world(north=last)
    ids = list(here.grid.push_messages(here.messages()))
    assert len(set(ids)) == 3
    got: list[Message] = []
    first: list[int] = []
    end = time.monotonic() + 60
    while len(got) < 3 and time.monotonic() < end:
        new = list(here.grid.pull_messages(ids))
        first += [m.metadata.src_node_id for m in new]
        got += new
        if len(got) == 2:
            others_are_there.set()
        time.sleep(0.01)
    assert {m.metadata.reply_to_message_id for m in got} == set(ids)
    assert first[-1] == NODES["north"]  # it did not hold up the others
    assert list(here.grid.pull_messages(ids)) == []


def test_a_malformed_reply_is_that_sites_failure_alone(world: Callable[..., World]) -> None:
    def liar(task: Task) -> Result:
        return replace(echo()(task), body=b"\xc1nonsense")

    here = world(south=liar)
    replies = list(here.grid.send_and_receive(here.messages()))
    assert [r.has_error() for r in replies] == [False, True, False]
    assert here.ledger.total_failure() is None


def test_the_grid_may_be_used_from_many_threads(world: Callable[..., World]) -> None:
    """The legacy server sends one message per client from a pool of threads."""
    here = world(north=echo(0.02, add=1), south=echo(add=2), west=echo(add=3))
    wrong: list[Any] = []

    def one(message: Message, add: float) -> None:
        for _ in range(5):
            (reply,) = here.grid.send_and_receive([message])
            if reply.content["arrays"]["w"].numpy().tolist() != [add] * 3:
                wrong.append(reply)

    threads = [
        threading.Thread(target=one, args=(m, i + 1.0))
        for i, m in enumerate(here.messages() + here.messages())
        for i in [i % 3]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_message_without_content_is_a_programming_error_as_in_flower(
    world: Callable[..., World],
) -> None:
    here = world()
    message = here.messages()[0]
    message.__dict__["_content"] = None
    with pytest.raises(ValueError, match="Invalid message"):
        here.grid.send_and_receive([message])


def test_asking_for_nodes_in_a_loop_ends_with_a_deadline(world: Callable[..., World]) -> None:
    here = world()
    here.wait.watch_this_thread()

    def wait_for_four() -> None:
        end = time.monotonic() + 40
        while len(list(here.grid.get_node_ids())) < 4 and time.monotonic() < end:
            time.sleep(0.01)

    with pytest.raises(DeadlineExceeded, match="more nodes"):
        wait_for_four()
    assert len(here.errors) == 1  # an app that swallows it cannot go on either


def test_an_app_that_sends_in_between_does_not_wait(world: Callable[..., World]) -> None:
    here = world()
    here.wait.watch_this_thread()
    for _ in range(10):
        here.grid.get_node_ids()
        here.grid.send_and_receive(here.messages())
        time.sleep(0.01)
    assert here.errors == []
