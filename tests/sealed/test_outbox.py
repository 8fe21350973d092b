"""Resuming a session re-sends stored ciphertext; nothing is sealed twice."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fedgate.errors import SealBroken, Unavailable
from fedgate_gateway.sealed import Direction, LetterKind, Opener, Outbox, Route, Sealer

ROUTE = Route(b"s" * 16, Direction.TO_SITE, "job-1", "enclave-1", "site-1")
KEY = b"k" * 32


def letters(count: int) -> list[bytes]:
    sealer = Sealer(KEY, ROUTE)
    return [sealer.seal(LetterKind.TASK, b"%d" % i) for i in range(count)]


def test_a_resumed_session_gets_exactly_what_it_missed():
    outbox, opener, sent = Outbox(), Opener(KEY, ROUTE), letters(5)
    for letter in sent:
        outbox.add(letter)
    for letter in sent[:2]:
        opener.open(letter)
    missed = outbox.from_sequence(opener.expected)
    assert missed == tuple(sent[2:])
    assert [opener.open(letter)[1] for letter in missed] == [b"2", b"3", b"4"]


def test_acknowledged_letters_are_forgotten():
    outbox = Outbox()
    for letter in letters(5):
        outbox.add(letter)
    outbox.ack(3)
    outbox.ack(1)
    assert (len(outbox), outbox.next) == (2, 5)
    with pytest.raises(SealBroken, match="cannot be resumed"):
        outbox.from_sequence(2)
    outbox.ack(5)
    assert (len(outbox), outbox.nbytes, outbox.from_sequence(5)) == (0, 0, ())


@pytest.mark.parametrize("sequence", [-1, 3, 1 << 70])
def test_a_peer_cannot_ask_for_or_acknowledge_what_was_never_sent(sequence):
    outbox = Outbox()
    for letter in letters(2):
        outbox.add(letter)
    with pytest.raises(SealBroken):
        outbox.from_sequence(sequence)
    if sequence > 0:
        with pytest.raises(SealBroken, match="never sent"):
            outbox.ack(sequence)
    assert len(outbox) == 2


def test_a_peer_that_never_acknowledges_ends_its_session_instead_of_filling_memory():
    sent = letters(4)
    few, small = Outbox(max_letters=3), Outbox(max_bytes=len(sent[0]) * 3)
    for outbox in (few, small):
        for letter in sent[:3]:
            outbox.add(letter)
        with pytest.raises(Unavailable, match="does not acknowledge"):
            outbox.add(sent[3])
        outbox.ack(1)
        outbox.add(sent[3])


def test_letters_are_kept_in_order_only():
    outbox, sent = Outbox(), letters(3)
    outbox.add(sent[0])
    for wrong in (sent[0], sent[2]):
        with pytest.raises(SealBroken, match="out of order"):
            outbox.add(wrong)


class Link(RuleBasedStateMachine):
    """A sender and a receiver over a link that loses everything in flight when it breaks."""

    def __init__(self) -> None:
        super().__init__()
        self.sealer, self.opener, self.outbox = Sealer(KEY, ROUTE), Opener(KEY, ROUTE), Outbox()
        self.flight: list[bytes] = []
        self.received: list[bytes] = []

    @rule()
    def send(self) -> None:
        letter = self.sealer.seal(LetterKind.TASK, b"%d" % self.sealer.next)
        self.flight.append(self.outbox.add(letter))

    @precondition(lambda self: self.flight)
    @rule()
    def deliver(self) -> None:
        self.received.append(self.opener.open(self.flight.pop(0))[1])

    @rule()
    def acknowledge(self) -> None:
        self.outbox.ack(self.opener.expected)

    @rule(keep=st.integers(0, 3))
    def reconnect(self, keep: int) -> None:
        del self.flight[keep:]
        for _ in range(len(self.flight)):
            self.deliver()
        self.flight = list(self.outbox.from_sequence(self.opener.expected))

    @invariant()
    def everything_arrives_once_and_in_order(self) -> None:
        assert self.received == [b"%d" % i for i in range(len(self.received))]
        assert len(self.received) + len(self.flight) == self.sealer.next


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
