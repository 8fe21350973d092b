"""Flower's grid on top of a federation: what a ServerApp sends becomes tasks of sites."""

from __future__ import annotations

import copy
import gc
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flwr.app import Message, Metadata, RecordDict
from flwr.serverapp import Grid

from fedgate.adapter import Federation
from fedgate.errors import FedgateError
from fedgate.model import Model
from fedgate.task import Failure, Result, Task, TaskError, TaskKind
from fedgate_flower._flwr_private import ErrorCode, NodeInfo, Run, set_message_id
from fedgate_flower.ledger import Failed, Ledger
from fedgate_flower.messages import (
    as_pulled_now,
    error_reply,
    from_result,
    new_message_id,
    to_task,
)
from fedgate_flower.outcome import Outcome
from fedgate_flower.records import Lifter
from fedgate_flower.waiting import NodeWait

_LEAST_SECONDS = 0.001
_ONLINE = "online"


@dataclass(frozen=True)
class _Sent:
    """A message under way; its content may be large and is not needed any more."""

    asked: Metadata
    task: str
    site: str
    kind: TaskKind
    round: int


@dataclass
class _Batch:
    """Messages of one call, in order; ``lanes`` are their results, by time to live.

    A dispatch has one deadline and messages have each their own, so those with the same time to
    live share a dispatch. Nearly always that is all of them.
    """

    sent: list[_Sent | Message] = field(default_factory=list)  # a Message is a reply already made
    lanes: dict[float, Iterator[Result]] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)
    trains: bool = False


class FederationGrid(Grid):  # type: ignore[misc, unused-ignore]
    """Thread-safe: the legacy server sends from a pool of threads."""

    def __init__(
        self,
        federation: Federation,
        run: Run,
        nodes: Mapping[str, int],
        *,
        wait: NodeWait,
        ledger: Ledger,
        outcome: Outcome,
    ) -> None:
        self._federation = federation
        self._run = run
        self._node_of = dict(nodes)
        self._site_of = {node: site for site, node in nodes.items()}
        self._wait = wait
        self._ledger = ledger
        self._outcome = outcome
        self._lifter = Lifter()
        self._inbox: dict[str, tuple[Message, Metadata]] = {}
        self._inbox_lock = threading.Lock()

    # -- who is there ----------------------------------------------------------------------------

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The sites that are online, in the order of the roster, by name."""
        online = [site.name for site in self._federation.sites() if site.online]
        self._wait.polled(len(online))
        return [NodeInfo(node_id=self._node_of[n], name=n, status=_ONLINE) for n in online]

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    # -- sending and receiving ---------------------------------------------------------------------

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies in the order of ``messages``.

        As in flwr, a message without a reply within ``timeout`` is left out, and one that fails,
        or outlives its own time to live, gets an error reply.
        """
        started = time.monotonic()
        batch = self._send(list(messages), timeout, ordered=True)
        replies = []
        for sent in batch.sent:
            if isinstance(sent, Message):
                replies.append(sent)
                continue
            result = next(batch.lanes[sent.asked.ttl], None) or _cancelled(sent)
            reply = self._receive(sent, result)
            late = result.error is not None and result.error.failure is Failure.TIMEOUT
            if not (late and timeout is not None and time.monotonic() - started >= timeout):
                replies.append(reply)
            del result, reply
        self._release(batch)
        return replies

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send without waiting; returns the messages' ids, for :meth:`pull_messages`."""
        messages = list(messages)
        batch = self._send(messages, None, ordered=False)
        waiting: dict[str, _Sent] = {}
        for sent in batch.sent:
            if isinstance(sent, Message):
                self._keep(sent, sent.metadata)
            else:
                waiting[sent.task] = sent
        left = len(batch.lanes)
        lock = threading.Lock()

        def collect(lane: Iterator[Result]) -> None:
            nonlocal left
            for result in lane:
                sent = waiting[result.task]
                self._keep(self._receive(sent, result), sent.asked)
                del result
            with lock:
                left -= 1
                last = left == 0
            if last:
                self._release(batch)

        for lane in batch.lanes.values():
            threading.Thread(target=collect, args=(lane,), name="replies", daemon=True).start()
        return [message.metadata.message_id for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there, each of them once.

        Those that have outlived their time to live, or that of their message, are errors, as in
        flwr. An id that was pulled already gets nothing, where flwr makes up an error: apps pull
        all their ids until every reply is there, and in flwr, slower, that happens at once.
        """
        with self._inbox_lock:
            found = [self._inbox.pop(i) for i in message_ids if i in self._inbox]
        return [as_pulled_now(reply, asked) for reply, asked in found]

    def _keep(self, reply: Message, asked: Metadata) -> None:
        with self._inbox_lock:
            self._inbox[reply.metadata.reply_to_message_id] = (reply, asked)

    # -- one batch ---------------------------------------------------------------------------------

    def _send(self, messages: Sequence[Message], timeout: float | None, *, ordered: bool) -> _Batch:
        # RecordDict.array_records leaves reference cycles that pin received models until they are
        # collected; what was there at the start is frozen, so this is quick.
        gc.collect()
        batch = _Batch()
        together = new_message_id() if len(messages) > 1 else ""
        lanes: dict[float, list[Task]] = {}
        deadlines: dict[float, float] = {}
        for message in messages:
            task = self._task(message, batch)
            if task is None:
                continue
            metadata = message.metadata
            left = max(_LEAST_SECONDS, metadata.created_at + metadata.ttl - time.time())
            lanes.setdefault(metadata.ttl, []).append(replace(task, batch=together))
            deadlines[metadata.ttl] = min(left, deadlines.get(metadata.ttl, left))
        self._wait.progressed()
        for ttl, tasks in lanes.items():
            deadline = deadlines[ttl] if timeout is None else min(deadlines[ttl], timeout)
            batch.lanes[ttl] = self._federation.dispatch(tasks, deadline=deadline, ordered=ordered)
        return batch

    def _task(self, message: Message, batch: _Batch) -> Task | None:
        if not message.has_content() or message.metadata.ttl <= 0:
            raise ValueError(f"Invalid message: {message}")  # as flwr's own grid has it
        set_message_id(message, new_message_id())
        site = self._site_of.get(message.metadata.dst_node_id)
        if site is None:
            reason = f"no node {message.metadata.dst_node_id} in this run"
            batch.sent.append(error_reply(message.metadata, ErrorCode.NODE_UNAVAILABLE, reason))
            return None
        task = to_task(message, site, self._lifter)
        asked = copy.copy(message.metadata)  # an app may send the same message again
        batch.sent.append(_Sent(asked, task.id, site, task.kind, task.round))
        if task.model is not None:
            batch.models.append(task.model)
            batch.trains |= task.kind is TaskKind.TRAIN
            if task.kind is not TaskKind.QUERY:
                self._outcome.sent(task.round, message.content)
        return task

    def _receive(self, sent: _Sent, result: Result) -> Message:
        """A result as a reply; one that does not parse is that site's failure alone."""
        try:
            reply = from_result(result, sent.asked)
        except FedgateError as error:
            result = Result(
                result.task,
                sent.site,
                error=TaskError(Failure.REFUSED, f"malformed reply: {error}"),
            )
            reply = from_result(result, sent.asked)
        failure = None
        if reply.has_error():
            said = reply.error.reason or f"error {reply.error.code}"
            failure = Failed("no answer" if result.error is None else result.error.reason, said)
        self._ledger.record(sent.kind, sent.round, sent.site, failure)
        return reply

    def _release(self, batch: _Batch) -> None:
        """After training the arrays change; what is evaluated is often trained on next."""
        self._wait.progressed()
        if batch.trains:
            for model in batch.models:
                self._lifter.forget(model)
        batch.models.clear()


def _cancelled(sent: _Sent) -> Result:
    return Result(sent.task, sent.site, error=TaskError(Failure.CANCELLED, "the job is ending"))
