"""What a peer says too much of holds up nobody but itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.errors import LimitReached
from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay import connections as module
from fedgate_gateway.relay.connections import Connection
from fedgate_gateway.relay.link_shares import LinkShares
from fedgate_gateway.relay.service import LinkService
from fedgate_proto.v1 import link_pb2 as pb


def enclave() -> Connection:
    return Connection(PeerKind.ENCLAVE, "e1", pb.PeerHello())


def letter(size: int = 1000) -> pb.GatewayMessage:
    return pb.GatewayMessage(letter=pb.Letter(job="job-1", site="a", data=bytes(size)))


async def read(connection: Connection, count: int) -> None:
    for _ in range(count):
        await connection.next()


@pytest.mark.parametrize(("size", "count"), [(0, 45_000), (1 << 20, 300)], ids=["many", "large"])
def test_what_one_session_leaves_unread_costs_only_that_session(size: int, count: int) -> None:
    e1, flood = enclave(), letter(size)
    for _ in range(count):
        e1.relay(flood, "job-1/a")
    assert e1.queue.qsize() * (flood.ByteSize() + module._MESSAGE_BYTES) <= module._SESSION_BYTES
    before = e1.queue.qsize()
    assert before < count
    e1.relay(letter(), "job-2/b")
    e1.send(pb.GatewayMessage(heartbeat=pb.Heartbeat()))
    assert e1.queue.qsize() == before + 2
    asyncio.run(read(e1, before))
    e1.relay(flood, "job-1/a")  # there is room again
    assert e1.queue.qsize() == 3


def test_two_whole_outboxes_of_a_session_have_room() -> None:
    """A session that resumes sends everything again."""
    e1, message = enclave(), letter(32 << 10)
    for _ in range(2 * 2048):
        e1.relay(message, "job-1/a")
    assert e1.queue.qsize() == 4096


def test_who_reads_none_of_the_gateways_own_messages_loses_its_link() -> None:
    e1 = enclave()
    for _ in range(module._QUEUE + 1):
        e1.send(pb.GatewayMessage(heartbeat=pb.Heartbeat()))
    assert asyncio.run(e1.next()) is None


def shares(**limits: int) -> LinkShares:
    return LinkShares(GatewayLimits(**limits))


def test_a_site_that_talks_too_fast_is_read_later_and_no_other() -> None:
    async def test() -> None:
        ours = shares(letters_per_second=100)
        for _ in range(1000):  # ten seconds' worth may come at once
            await ours.message("a")
        with pytest.raises(StopIteration):  # it does not wait
            ours.message("b").send(None)
        for _ in range(2000):  # as many seconds' worth later, if the machine is that slow
            waiting = asyncio.create_task(ours.message("a"))
            await asyncio.sleep(0)
            if not waiting.done():
                break
        assert not waiting.done()
        await waiting

    asyncio.run(test())


def test_handshakes_have_a_rate_for_each_site_and_job() -> None:
    ours = shares(handshakes_per_minute=4)
    for _ in range(4):
        ours.handshake("job-1", "a")
    with pytest.raises(LimitReached, match="handshakes_per_minute"):
        ours.handshake("job-1", "a")
    ours.handshake("job-1", "b")
    ours.handshake("job-2", "a")


def test_the_link_counts_each_message_of_a_site_and_holds_up_no_enclave() -> None:
    async def test() -> None:
        service: Any = object.__new__(LinkService)
        service._shares = shares(letters_per_second=1, handshakes_per_minute=2)
        service._router = SimpleNamespace(relay=lambda *_: None)
        hello = pb.PeerHello()
        site, e1 = Connection(PeerKind.SITE, "a", hello), enclave()
        heartbeat = pb.PeerMessage(heartbeat=pb.Heartbeat())
        handshake = pb.PeerMessage(handshake=pb.Handshake(job="job-1", site="a"))
        for _ in range(2):
            await service._handle(site, None, handshake)
        with pytest.raises(LimitReached, match="handshakes_per_minute"):
            await service._handle(site, None, handshake)
        for _ in range(7):  # ten seconds' worth have come
            await service._handle(site, None, heartbeat)
        slow = asyncio.create_task(service._handle(site, None, heartbeat))
        for _ in range(20):
            await service._handle(e1, None, heartbeat)
        await asyncio.sleep(0.01)
        assert not slow.done()
        slow.cancel()

    asyncio.run(test())


def test_entries_count_by_size_for_each_job_and_peer() -> None:
    async def test() -> None:
        ours = shares(reports_kib_per_minute=10)
        for _ in range(10):
            await ours.entry("job-1", "a", 10)
        waiting = asyncio.create_task(ours.entry("job-1", "a", 10))
        await ours.entry("job-1", "b", 10)
        await asyncio.sleep(0.01)  # it has asked by now
        assert not waiting.done()
        waiting.cancel()
        ours.event("job-1", 9 * 1024)
        with pytest.raises(LimitReached):
            ours.event("job-1", 10)

    asyncio.run(test())
