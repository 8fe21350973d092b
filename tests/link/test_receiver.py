"""Packets of a session, in order and within bounds; what cannot be had costs a task, no more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.errors import FedgateError, InvalidMessage, NotFound, SealBroken, Unavailable
from fedgate_gateway.child.memory import Buffer, Pool
from fedgate_gateway.link import arrival, cargo, delivery, expected, receiver, turns
from fedgate_gateway.link.control import read_control
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.link.receiver import Received, Receiver
from fedgate_gateway.link.turns import Turns
from fedgate_gateway.sealed import (
    CargoKey,
    CargoWitness,
    Direction,
    LetterHeader,
    LetterKind,
    SessionKeys,
)

KEYS = SessionKeys.derive(
    b"s" * 32, b"t" * 32, session=b"i" * 16, job="job-1", site="a", enclave="e"
)
Download = Callable[..., Any]


def header(packet: Packet) -> LetterHeader:
    return LetterHeader(
        session=b"i" * 16, direction=Direction.TO_SITE, sequence=0, kind=LetterKind.TASK,
        job="job-1", sender="e", receiver="a", body=0, cargo=packet.cargo,
    )  # fmt: skip


class Ends:
    """A receiver whose downloads are what the test says."""

    def __init__(
        self,
        on_packet: Callable[[Received], Any] | None = None,
        limit: int = 1 << 20,
        turns: Turns | None = None,
    ):
        self.pool = Pool("test")
        self.received: list[Received] = []
        self.broken: list[FedgateError] = []
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[bytes] = []
        link: Any = SimpleNamespace(send=lambda m: self.taken.append(m.cargo_taken.cargo))
        self.receiver = Receiver(
            "job-1", link, KEYS, pool=lambda: self.pool, limit=limit,
            answer=lambda body: self.said.append(read_control(body)),
            on_packet=on_packet or self.received.append, on_broken=self.broken.append, turns=turns,
        )  # fmt: skip

    def put(self, packet: Packet) -> None:
        self.receiver.put(header(packet), packet.to_bytes())

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def run(test: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def until(done: Callable[[], Any]) -> None:
    """``run`` bounds it."""
    while not done():
        await asyncio.sleep(0.005)


def downloads(monkeypatch: pytest.MonkeyPatch, do: Download) -> None:
    monkeypatch.setattr(cargo, "download", do)


def test_packets_come_in_order_even_when_the_first_waits_for_its_cargo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        gate = asyncio.Event()

        async def slow(link, job, key, out, *, witness=None, progress=None) -> None:
            await gate.wait()
            out[:] = b"m" * key.size

        downloads(monkeypatch, slow)
        ends = Ends()
        ends.put(Packet(b"first", CargoKey.generate(100)))
        ends.put(Packet(b"second", b"inline"))
        await ends.settle()
        assert ends.received == []
        gate.set()
        await ends.settle()
        assert [r.note for r in ends.received] == [b"first", b"second"]
        assert isinstance(ends.received[0].model, Buffer)
        assert bytes(ends.received[0].model.view) == b"m" * 100

    run(test)


@pytest.mark.parametrize("error", [Unavailable("gone"), NotFound("never came")])
def test_cargo_that_does_not_come_fails_its_task_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: FedgateError
) -> None:
    async def test() -> None:
        async def fail(*_: Any, **__: Any) -> None:
            raise error

        downloads(monkeypatch, fail)
        ends = Ends()
        key = CargoKey.generate(100)
        ends.put(Packet(b"first", key, task="t1"))
        ends.put(Packet(b"second", task="t2"))
        await ends.settle()
        assert (ends.received, ends.said) == ([], [("lost", {"cargo": key.id})])
        ends.receiver.arrivals.instead(key.id, None)
        await ends.settle()
        told = [(r.task, r.error, r.model) for r in ends.received]
        assert told == [("t1", error, None), ("t2", None, None)]
        assert ends.broken == []
        assert ends.pool.lent == 0

    run(test)


def test_what_comes_in_place_of_a_lost_cargo_is_taken_and_the_sender_and_gateway_hear_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        first, second, third = (CargoKey.generate(100) for _ in range(3))

        async def fetch(link, job, key, out, *, witness=None, progress=None) -> None:
            if key == first:
                raise Unavailable("gone")
            out[:] = b"m" * key.size
            if key == second:
                await asyncio.sleep(60)

        downloads(monkeypatch, fetch)
        ends = Ends()
        ends.put(Packet(b"note", first))
        ends.receiver.arrivals.instead(first.id, (second, False))
        await ends.settle()
        ends.receiver.arrivals.instead(second.id, (third, False))  # while the second is coming
        await ends.settle()
        assert [bytes(r.model.view) for r in ends.received] == [b"m" * 100]
        assert ends.said == [("lost", {"cargo": first.id}), ("got", {"cargo": third.id})]
        assert (ends.taken, ends.pool.lent, len(ends.receiver.arrivals._news)) == (
            [third.id], 1, 0,
        )  # fmt: skip

    run(test)


def test_a_sender_that_says_nothing_of_a_lost_cargo_costs_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        monkeypatch.setattr(arrival, "_AGAIN_SECONDS", 0.02)

        async def fail(*_: Any, **__: Any) -> None:
            raise Unavailable("gone")

        downloads(monkeypatch, fail)
        ends = Ends()
        ends.put(Packet(b"n", CargoKey.generate(100)))
        await until(lambda: ends.received)
        assert "gone" in str(ends.received[0].error)

    run(test)


def test_nobody_sends_another_model_or_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        fetched: list[CargoKey] = []

        async def fail(link, job, key, out, *, witness=None, progress=None) -> None:
            fetched.append(key)
            raise Unavailable("gone")

        downloads(monkeypatch, fail)
        ends, key = Ends(), CargoKey.generate(100)
        ends.put(Packet(b"n", key))
        ends.receiver.arrivals.instead(key.id, (CargoKey.generate(101), False))
        await ends.settle()
        assert isinstance(ends.broken[0], InvalidMessage)
        fetched.clear()
        for_ever = Ends()
        for_ever.put(Packet(b"n", key))
        for _ in range(50):
            fresh = CargoKey.generate(100)
            for_ever.receiver.arrivals.instead(key.id, (fresh, False))
            await for_ever.settle()
            key = fresh
        assert (len(fetched), len(for_ever.received)) == (delivery.ATTEMPTS, 1)

    run(test)


def test_cargo_that_nobody_waits_for_is_not_kept_by_anybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        downloads(monkeypatch, lambda *_, **__: pytest.fail("it was fetched"))
        ends, key = Ends(), CargoKey.generate(100)
        ends.receiver._wanted = lambda _task: False
        ends.put(Packet(b"n", key, task="t1"))
        await ends.settle()
        assert isinstance(ends.received[0].error, NotFound)
        assert (ends.said, ends.taken) == ([("got", {"cargo": key.id})], [key.id])

    run(test)


def test_cargo_that_is_not_the_senders_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async def fail(*_: Any, **__: Any) -> None:
            raise SealBroken("altered")

        downloads(monkeypatch, fail)
        ends = Ends()
        ends.put(Packet(b"first", CargoKey.generate(100)))
        ends.put(Packet(b"second"))
        await ends.settle()
        assert [str(e) for e in ends.broken] == ["altered"]
        assert ends.received == []
        assert ends.pool.lent == 0

    run(test)


def test_a_model_beyond_the_limit_is_refused_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        downloads(monkeypatch, lambda *_, **__: pytest.fail("it was fetched"))
        for packet in (Packet(b"n", CargoKey.generate(1001)), Packet(CargoKey.generate(1001))):
            ends = Ends(limit=1000)
            ends.put(packet)
            await ends.settle()
            assert isinstance(ends.broken[0], InvalidMessage)

    run(test)


def test_a_shared_model_waits_for_its_senders_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        key = CargoKey.generate(100)

        async def fetch(link, job, key, out, *, witness=None, progress=None) -> None:
            witness.add(b"sealed chunk")

        downloads(monkeypatch, fetch)
        ours = CargoWitness(KEYS, key)
        ours.add(b"sealed chunk")
        for tag, good in ((ours.tag(), True), (bytes(32), False)):
            for early in (True, False):
                ends = Ends()
                if early:
                    ends.receiver.witness(key.id + tag)
                ends.put(Packet(b"n", key, shared=True))
                await ends.settle()
                if not early:
                    assert ends.received == []
                    ends.receiver.witness(key.id + tag)
                    await ends.settle()
                assert (len(ends.received), len(ends.broken)) == ((1, 0) if good else (0, 1))

    run(test)


def test_a_witness_that_never_comes_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(receiver, "_WITNESS_SECONDS", 0.02)

        async def fetch(link, job, key, out, *, witness=None, progress=None) -> None:
            witness.add(b"sealed chunk")

        downloads(monkeypatch, fetch)
        ends = Ends()
        ends.put(Packet(b"n", CargoKey.generate(100), shared=True))
        await until(lambda: ends.broken)
        assert "never came" in str(ends.broken[0])

    run(test)


def test_witnesses_of_cargo_that_never_comes_are_forgotten_oldest_first() -> None:
    async def test() -> None:
        ends = Ends()
        for number in range(200):
            ends.receiver.witness(number.to_bytes(16, "big") + bytes(32))
        assert len(ends.receiver._witnesses) <= expected.MOST
        with pytest.raises(SealBroken):
            ends.receiver.witness(b"short")

    run(test)


def test_a_peer_may_run_ahead_only_so_far_in_letters_and_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async def never(*_: Any, **__: Any) -> None:
            await asyncio.sleep(60)

        downloads(monkeypatch, never)
        many = Ends()
        many.put(Packet(b"n", CargoKey.generate(100)))
        await many.settle()
        for _ in range(receiver._QUEUE):
            many.put(Packet(b"n"))
        with pytest.raises(InvalidMessage, match="faster"):
            many.put(Packet(b"n"))
        large = Ends()
        large.put(Packet(b"n", CargoKey.generate(100)))
        await large.settle()
        for _ in range((receiver._QUEUE_BYTES >> 20) - 1):
            large.put(Packet(b"n", bytes(1 << 20)))
        with pytest.raises(InvalidMessage, match="faster"):
            large.put(Packet(b"n", bytes(1 << 20)))

    run(test)


def test_memory_of_a_packet_that_is_refused_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async def fetch(link, job, key, out, *, witness=None, progress=None) -> None:
            return

        def refuse(_: Received) -> None:
            raise InvalidMessage("another site's task")

        downloads(monkeypatch, fetch)
        ends = Ends(refuse)
        ends.put(Packet(b"n", CargoKey.generate(100)))
        await ends.settle()
        assert str(ends.broken[0]) == "another site's task"
        assert ends.pool.lent == 0

    run(test)


def test_a_bug_of_ours_ends_the_session_instead_of_deafening_it() -> None:
    async def test() -> None:
        def fail(_: Received) -> None:
            raise ZeroDivisionError

        ends = Ends(fail)
        ends.put(Packet(b"n"))
        await ends.settle()
        assert "ZeroDivisionError" in str(ends.broken[0])

    run(test)


class Line:
    """Downloads that take until a test ends them, and bring what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.under_way: dict[CargoKey, Callable[[int], None]] = {}
        self.done: dict[CargoKey, asyncio.Event] = {}
        downloads(monkeypatch, self._fetch)

    async def _fetch(self, link, job, key, out, *, witness=None, progress=None) -> None:
        self.under_way[key] = progress
        self.done[key] = asyncio.Event()
        await self.done[key].wait()
        del self.under_way[key]


def test_large_models_come_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        line, shared = Line(monkeypatch), Turns(2)
        keys = [CargoKey.generate(100) for _ in range(3)]
        for key in keys:
            Ends(turns=shared).put(Packet(b"n", key))
        await until(lambda: len(line.under_way) == 2)
        assert list(line.under_way) == keys[:2]
        line.done[keys[0]].set()
        for _ in range(100):
            await asyncio.sleep(0)
        assert list(line.under_way) == keys[1:]

    run(test)


def test_who_stalls_or_trickles_loses_its_turn_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        monkeypatch.setattr(turns, "_SECONDS", 0.1)
        line, shared = Line(monkeypatch), Turns(2)
        slow, quick, third = (CargoKey.generate(100) for _ in range(3))
        all_ends = [Ends(turns=shared) for _ in range(3)]
        for ends, key in zip(all_ends, (slow, quick, third), strict=True):
            ends.put(Packet(b"n", key))
        await all_ends[0].settle()
        assert list(line.under_way) == [slow, quick]
        line.under_way[slow](turns._LEAST - 1)
        while len(line.under_way) < 3:  # at every look the others have brought enough
            for key in line.under_way.keys() - {slow}:
                line.under_way[key](turns._LEAST)
            await asyncio.sleep(0.05)
        assert list(line.under_way) == [slow, quick, third]
        assert shared._free.locked()
        for key in (slow, quick, third):
            line.done[key].set()
        await all_ends[0].settle()
        assert [len(ends.received) for ends in all_ends] == [1, 1, 1]
        assert shared._free._value == 2  # each turn was given back, and only once

    run(test)


def test_a_receiver_that_ends_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        Line(monkeypatch)
        shared = Turns(1)
        ends = Ends(turns=shared)
        ends.put(Packet(b"n", CargoKey.generate(100)))
        await ends.settle()
        assert shared._free.locked()
        ends.receiver.close()
        await ends.settle()
        assert not shared._free.locked()

    run(test)
