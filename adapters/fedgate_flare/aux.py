"""FLARE's auxiliary messages (federated events and the like) as opaque frames.

They leave a site only where its guard lists ``aux_communication:<topic>``; elsewhere they are
dropped, which a job must survive: FLARE itself treats them as best effort.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
from nvflare.apis.fl_constant import ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Model
from fedgate.task import Frame
from fedgate_flare.codec import decode, encode
from fedgate_flare.messages import expect_shareable, peer_properties

CHANNEL = "aux_communication"
_MAX_FRAME = 64 * 1024 * 1024
_TELL, _ASK, _ANSWER = 0, 1, 2
_LOG = logging.getLogger("fedgate.flare.aux")


class AuxLink:
    """Auxiliary messages between this process and its peers.

    ``post(peer, frame)`` sends; ``dispatch(topic, request)`` is FLARE's own handler of a request.
    """

    def __init__(
        self,
        peers: Callable[[], list[str]],
        post: Callable[[str, Frame], None],
        dispatch: Callable[[str, Shareable], Shareable],
        job_id: str,
        allowed: frozenset[str] | None,
    ) -> None:
        self._peers = peers
        self._post = post
        self._dispatch = dispatch
        self._job_id = job_id
        self._allowed = allowed
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[str, int], queue.SimpleQueue[Shareable]] = {}
        self._inbox: queue.SimpleQueue[tuple[str, Frame]] = queue.SimpleQueue()
        self._refused: set[str] = set()
        threading.Thread(target=self._work, name="fedgate-aux", daemon=True).start()

    def send(
        self, requests: Mapping[str, Shareable], topic: str, timeout: float, context: FLContext
    ) -> dict[str, Shareable]:
        """One request for each peer; with a timeout, each peer's reply or a return code."""
        properties = context.get_all_public_props()
        if self._allowed is not None:
            properties = {k: v for k, v in properties.items() if k in self._allowed}
        pending: dict[str, tuple[int, queue.SimpleQueue[Shareable]]] = {}
        replies: dict[str, Shareable] = {}
        for peer, request in requests.items():
            if peer not in self._peers():
                replies[peer] = make_reply(ReturnCode.COMMUNICATION_ERROR)
                continue
            request.set_peer_props(properties)
            number = next(self._numbers)
            answer: queue.SimpleQueue[Shareable] = queue.SimpleQueue()
            if timeout > 0:
                self._waiting[peer, number] = answer
                pending[peer] = number, answer
            self._post_one(peer, topic, _ASK if timeout > 0 else _TELL, number, request)
        for peer, (number, answer) in pending.items():
            try:
                replies[peer] = answer.get(timeout=timeout)
            except queue.Empty:
                replies[peer] = make_reply(ReturnCode.COMMUNICATION_ERROR)
            self._waiting.pop((peer, number), None)
        return replies if timeout > 0 else {}

    def receive(self, peer: str, frame: Frame) -> None:
        """A frame came in; handled on a thread of ours."""
        if frame.channel == CHANNEL:
            self._inbox.put((peer, frame))

    def _post_one(self, peer: str, topic: str, way: int, number: int, message: Shareable) -> None:
        try:
            model, body = encode(message)
            packed = msgpack.packb([way, number, model.to_bytes() if len(model) else b"", body])
            self._post(peer, Frame(CHANNEL, topic, packed))
        except FedgateError as error:
            if topic not in self._refused:  # once is enough for a log
                self._refused.add(topic)
                _LOG.warning("auxiliary message %r was not sent: %s", topic, error)

    def _work(self) -> None:
        while True:
            peer, frame = self._inbox.get()
            try:
                self._handle(peer, frame)
            except Exception as error:  # one bad frame ends nothing but itself
                _LOG.warning("a frame %r from %s was dropped: %s", frame.topic, peer, error)

    def _handle(self, peer: str, frame: Frame) -> None:
        way, number, message = read_frame(frame)
        if way == _ANSWER:
            answer = self._waiting.pop((peer, number), None)
            if answer is not None:
                answer.put(message)
            return
        claimed = peer_properties(message, self._allowed)
        message.set_peer_props(
            {**claimed, ReservedKey.IDENTITY_NAME: peer, ReservedKey.RUN_NUM: self._job_id}
        )
        reply = self._dispatch(frame.topic, message)
        if way == _ASK:
            self._post_one(peer, frame.topic, _ANSWER, number, reply)


def read_frame(frame: Frame) -> tuple[int, int, Shareable]:
    """Parse a frame of ours; raises :class:`InvalidMessage`."""
    if len(frame.body) > _MAX_FRAME:
        raise InvalidMessage("an auxiliary message is too large", why=f"{len(frame.body)} bytes")
    try:
        parts: Any = msgpack.unpackb(frame.body)
    except Exception as error:
        raise InvalidMessage("an auxiliary message does not parse", why=repr(error)) from error
    match parts:
        case [int(way), int(number), bytes(tensors), bytes(body)] if way in (_TELL, _ASK, _ANSWER):
            model = Model.parse(bytearray(tensors)) if tensors else None
            return way, number, expect_shareable(decode(model, body))
        case _:
            raise InvalidMessage("an auxiliary message has unexpected fields")
