"""Two ends of a session over a connection that loses, repeats, swaps and breaks.

Whatever it does: what one end reads is what the other wrote, each once and in order, or the
session has ended. An honest network that only breaks never ends one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.errors import FedgateError, InvalidMessage, SealBroken
from fedgate_gateway.link import channel
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.sealed import CargoRef, LetterKind, SessionKeys
from fedgate_proto.v1 import link_pb2 as pb

KEYS = SessionKeys.derive(
    b"s" * 32, b"t" * 32, session=b"i" * 16, job="job-1", site="a", enclave="e"
)


@dataclass
class End:
    """One end, the letters on their way to the other, and what it has read."""

    channel: Channel = None  # type: ignore[assignment]
    sent: list[bytes] = field(default_factory=list)
    read: list[bytes] = field(default_factory=list)
    way: deque[Any] = field(default_factory=deque)
    broken: list[FedgateError] = field(default_factory=list)

    def post(self) -> None:
        if self.channel.broken is None:
            self.sent.append(f"letter {len(self.sent)}".encode())
            self.channel.post(LetterKind.TASK, self.sent[-1])


class Pair:
    def __init__(self) -> None:
        self.site, self.enclave = End(), End()
        for end, ends in ((self.site, KEYS.at_site()), (self.enclave, KEYS.at_enclave())):
            end.channel = Channel(
                KEYS, ends, send=end.way.append,
                on_letter=lambda _, body, e=end: e.read.append(body),
                on_broken=end.broken.append,
            )  # fmt: skip
        self.old: list[pb.Letter] = []

    @property
    def alive(self) -> bool:
        return self.site.channel.broken is None and self.enclave.channel.broken is None

    def deliver(self, sender: End) -> None:
        if not sender.way:
            return
        message = sender.way.popleft()
        to = self.enclave if sender is self.site else self.site
        if isinstance(message, pb.Letter):
            self.old.append(message)
            to.channel.receive(message)
        elif to is self.enclave:
            answer = to.channel.accept_resume(message)
            if answer is not None:
                to.way.append(answer)
                to.channel.continue_from(message.expected)
        else:
            to.channel.resumed(message)

    def reconnect(self) -> None:
        self.site.way.clear()
        self.enclave.way.clear()
        if self.alive:
            self.site.way.append(self.site.channel.start_resume())

    def drain(self) -> None:
        while self.site.way or self.enclave.way:
            self.deliver(self.site)
            self.deliver(self.enclave)


def act(pair: Pair, action: str, draw: Any) -> None:
    end = pair.site if action.startswith("site") else pair.enclave
    match action.split("-")[1]:
        case "post":
            end.post()
        case "deliver":
            pair.deliver(end)
        case "reconnect":
            pair.reconnect()
        case "lose":
            if end.way:
                end.way.popleft()
        case "repeat":
            if end.way:
                end.way.appendleft(end.way[0])
        case "swap":
            if len(end.way) > 1:
                end.way.append(end.way.popleft())
        case "replay":
            if pair.old:
                letter = draw(st.sampled_from(pair.old))
                again = pb.Letter()
                again.CopyFrom(letter)
                again.epoch = draw(st.sampled_from([letter.epoch, end.channel.epoch]))
                end.way.append(again)
        case "flip":
            if end.way and isinstance(end.way[0], pb.Letter) and end.way[0].data:
                data = bytearray(end.way[0].data)
                data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
                end.way[0].data = bytes(data)
        case "lie":
            if end.way and isinstance(end.way[0], pb.Letter):
                end.way[0].expected = draw(st.integers(0, 40))


HONEST = ["site-post", "enclave-post", "site-deliver", "enclave-deliver"]
HOSTILE = [f"{end}-{what}" for end in ("site", "enclave") for what in
           ("lose", "repeat", "swap", "replay", "flip", "lie")]  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*HONEST, *HONEST, "both-reconnect"]), max_size=80), st.data())
def test_breaking_connections_cost_no_letter_and_no_session(
    actions: list[str], data: st.DataObject
) -> None:
    pair = Pair()
    for action in actions:
        act(pair, action, data.draw)
    pair.reconnect()
    pair.drain()
    assert pair.alive
    assert pair.site.read == pair.enclave.sent
    assert pair.enclave.read == pair.site.sent


@settings(max_examples=250)
@given(
    st.lists(st.sampled_from([*HONEST, *HONEST, *HOSTILE, "both-reconnect"]), max_size=60),
    st.data(),
)
def test_whatever_the_way_does_letters_come_once_and_in_order_or_the_session_ends(
    actions: list[str], data: st.DataObject
) -> None:
    pair = Pair()
    for action in actions:
        act(pair, action, data.draw)
        for end, other in ((pair.site, pair.enclave), (pair.enclave, pair.site)):
            assert end.read == other.sent[: len(end.read)]
    pair.reconnect()
    pair.drain()
    if pair.alive:
        assert pair.site.read == pair.enclave.sent
        assert pair.enclave.read == pair.site.sent
    for end in (pair.site, pair.enclave):
        assert len(end.broken) == (end.channel.broken is not None)


def test_a_replayed_letter_ends_the_session() -> None:
    pair = Pair()
    pair.site.post()
    pair.site.way.append(pair.site.way[0])
    pair.drain()
    assert isinstance(pair.enclave.channel.broken, SealBroken)
    assert "replayed" in str(pair.enclave.channel.broken)
    assert pair.enclave.read == [b"letter 0"]


def test_a_letter_of_an_earlier_connection_is_stale_and_harmless() -> None:
    pair = Pair()
    pair.site.post()
    stale = pair.site.way[0]
    pair.reconnect()
    pair.drain()
    pair.site.way.append(stale)
    pair.drain()
    assert pair.alive
    assert pair.enclave.read == [b"letter 0"]


def test_nothing_is_read_once_a_session_has_ended() -> None:
    pair = Pair()
    for _ in range(3):
        pair.site.post()
    del pair.site.way[0]
    pair.drain()
    assert not pair.alive
    assert pair.enclave.read == []
    pair.enclave.post()
    assert pair.enclave.way == deque()


def test_a_letter_sent_while_the_connection_is_down_goes_out_with_the_next() -> None:
    pair = Pair()
    pair.reconnect()
    pair.site.post()
    assert [type(m) for m in pair.site.way] == [pb.Resume]
    pair.drain()
    assert pair.enclave.read == [b"letter 0"]


def test_an_acknowledgement_is_sent_even_when_there_is_nothing_to_say() -> None:
    pair = Pair()
    for _ in range(40):
        pair.site.post()
    pair.drain()
    assert len(pair.site.channel._outbox) < 40


def test_a_peer_that_never_acknowledges_ends_the_session_instead_of_filling_memory() -> None:
    pair = Pair()
    for _ in range(5000):
        pair.site.post()
        pair.site.way.clear()
    assert "acknowledge" in str(pair.site.channel.broken)


def test_a_handler_that_refuses_a_letter_ends_the_session_with_its_reason() -> None:
    pair = Pair()

    def refuse(*_: Any) -> None:
        raise InvalidMessage("no such task")

    pair.enclave.channel._on_letter = refuse
    pair.site.post()
    pair.drain()
    assert str(pair.enclave.channel.broken) == "no such task"


def test_a_letter_that_cannot_be_sealed_ends_the_session_for_its_sender() -> None:
    pair = Pair()
    pair.site.channel.post(LetterKind.TASK, bytes(3 << 20))
    assert isinstance(pair.site.channel.broken, SealBroken)


def test_the_cargo_of_a_letter_is_read_as_it_was_written() -> None:
    pair = Pair()
    seen = []
    pair.enclave.channel._on_letter = lambda header, _: seen.append(header)
    cargo = (CargoRef(b"c" * 16, 7),)
    pair.site.channel.post(LetterKind.RESULT, b"", cargo=cargo)
    pair.drain()
    assert seen[0].cargo == cargo


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_resume_of_an_old_connection_is_ignored(epoch: int) -> None:
    pair = Pair()
    pair.reconnect()
    pair.drain()
    assert pair.enclave.channel.accept_resume(pb.Resume(epoch=epoch, expected=0)) is None


def test_large_letters_are_acknowledged_before_the_outbox_is_full() -> None:
    pair = Pair()
    pair.site.channel.post(LetterKind.FRAME, bytes(2 << 20))
    pair.deliver(pair.site)
    assert not pair.enclave.way
    pair.site.channel.post(LetterKind.FRAME, bytes(2 << 20))
    pair.deliver(pair.site)
    assert len(pair.enclave.way) == 1
    for _ in range(50):
        pair.site.channel.post(LetterKind.FRAME, bytes(2 << 20))
        pair.deliver(pair.site)
        pair.deliver(pair.enclave)
    assert pair.alive


def test_a_channel_says_that_it_is_crowded_long_before_it_breaks() -> None:
    pair = Pair()
    posted = 0
    while not pair.site.channel.crowded():
        pair.site.post()
        posted += 1
    assert posted == 2049
    assert pair.alive
    pair.drain()
    assert not pair.site.channel.crowded()
    assert len(pair.enclave.read) == posted


class Time:
    """Seconds that a test lets pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(channel, "time", SimpleNamespace(monotonic=lambda: self.now))


def crowd(pair: Pair) -> None:
    while not pair.site.channel.crowded():
        pair.site.post()
    for _ in range(10):  # beyond what a trickle of acknowledgements makes up for
        pair.site.post()


def test_a_peer_that_never_makes_room_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or one site that acknowledges nothing would hold up the coordinator, and so all others."""
    time, pair = Time(monkeypatch), Pair()
    crowd(pair)
    time.now += channel._CROWDED_SECONDS
    assert pair.site.channel.crowded()
    pair.site.channel.receive(pb.Letter(expected=1))  # a trickle makes no room
    assert pair.site.channel.crowded()
    time.now += 1
    assert not pair.site.channel.crowded()
    assert "does not acknowledge" in str(pair.site.channel.broken)


def test_a_slow_peer_that_makes_room_now_and_then_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    time, pair = Time(monkeypatch), Pair()
    for _ in range(5):
        crowd(pair)
        time.now += channel._CROWDED_SECONDS - 1
        assert pair.site.channel.crowded()
        pair.drain()  # nobody asks while there is room
    assert pair.alive
