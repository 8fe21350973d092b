"""What a peer has open on the link ends with its certificate, in the middle of a transfer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fedgate_gateway import program
from fedgate_gateway.config import GatewayLimits, Listen
from fedgate_gateway.dev.ports import choose
from fedgate_gateway.link import methods
from fedgate_gateway.link.client import LinkCredentials, open_channel
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connections
from fedgate_gateway.relay.router import Route, Router
from fedgate_gateway.relay.service import LinkService, holder_of
from fedgate_gateway.relay.spool import CargoSpool, spool_budget
from fedgate_gateway.shares import ALL
from fedgate_proto.v1 import link_pb2 as pb

ID = b"i" * 16


class Link:
    """A gateway's link with one job, and one enrolled site of it."""

    def __init__(self, state: Any, newcomer: Any, port: int) -> None:
        limits = state.config.limits.model_copy(update={"idle_seconds": 1.0})
        state.config = state.config.model_copy(update={"limits": limits})
        self.state = state
        token = state.enrolments.invite("site", "site-1").token
        site = newcomer(token)
        issued = state.enrolments.redeem(site.request())
        key = site.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.credentials = LinkCredentials(issued.ca_pem, issued.certificate_pem, key)
        connections = Connections()
        router = Router(connections, state.registry)
        router.routes["job-1"] = Route("job-1", "enclave-1", frozenset({"site-1"}), "health")
        self.budget = spool_budget(GatewayLimits())
        self.spool = CargoSpool(
            state.config.data / "spool", cargo_bytes=1 << 30, budget=self.budget
        )
        ledger: Any = SimpleNamespace(on_taken=lambda _taken: None)
        self.service = LinkService(
            state, ledger, connections, router, self.spool, ledger, state.calls
        )
        listen = Listen(host="127.0.0.1", port=port)
        self.config = state.config.model_copy(update={"link": listen})
        state.peers.on_revoked(lambda kind, name: state.calls.end(holder_of(kind, name)))

    async def __aenter__(self) -> grpc.aio.Channel:
        files = self.state.authority.server_files(["localhost", "127.0.0.1"])
        self.server = await program._link_server(self.config, files, self.service)
        self.channel = open_channel(f"127.0.0.1:{self.config.link.port}", self.credentials)
        return self.channel

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self.server.stop(0)
        self.spool.close()


@pytest.fixture
def link(state: Any, newcomer: Any) -> Link:
    return Link(state, newcomer, choose(1)[0])


async def endless() -> AsyncIterator[pb.Chunk]:
    yield pb.Chunk(cargo=pb.CargoHeader(job="job-1", cargo=ID, size=1 << 20))
    for _ in range(1000):
        yield pb.Chunk(data=bytes(1000))
        await asyncio.sleep(0.2)


async def stalling() -> AsyncIterator[pb.Chunk]:
    yield pb.Chunk(cargo=pb.CargoHeader(job="job-1", cargo=ID, size=1 << 20))
    await asyncio.sleep(1000)


async def until(done: Any) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.01)


def upload(channel: grpc.aio.Channel, chunks: AsyncIterator[pb.Chunk]) -> Any:
    method = channel.stream_unary(
        methods.UPLOAD_CARGO,
        request_serializer=pb.Chunk.SerializeToString,
        response_deserializer=pb.Receipt.FromString,
    )
    return method(chunks)


def download(channel: grpc.aio.Channel, id: bytes) -> Any:
    method = channel.unary_stream(
        methods.DOWNLOAD_CARGO, request_serializer=pb.CargoRequest.SerializeToString
    )
    return method(pb.CargoRequest(job="job-1", cargo=id))


def test_an_upload_and_a_download_end_when_their_peer_is_revoked(link: Link) -> None:
    async def test() -> None:
        async with link as channel:
            up = upload(channel, endless())
            other = link.spool.begin("job-1", b"o" * 16, 100, frozenset({"site-1"}), "enclave-1")
            down = download(channel, other.id)
            reading = asyncio.ensure_future(down.read())
            await until(lambda: link.budget.held(ALL) >= 1000)
            await until(lambda: len(link.state.calls._calls) == 1)
            await until(lambda: len(link.state.calls._calls["site:site-1"]) == 2)
            await asyncio.to_thread(link.state.peers.revoke, PeerKind.SITE, "site-1", actor="root")
            for call in (up, reading):
                with pytest.raises(grpc.aio.AioRpcError):
                    await asyncio.wait_for(call, 60)
            await until(lambda: link.budget.held(ALL) == 0)
            await until(lambda: not link.state.calls._calls)

    asyncio.run(test())


def test_transfers_that_stand_still_are_broken_off(link: Link) -> None:
    async def test() -> None:
        async with link as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="stood still"):
                await asyncio.wait_for(upload(channel, stalling()), 60)
            assert link.spool._cargo == {}
            cargo = link.spool.begin("job-1", ID, 64 << 20, frozenset({"site-1"}), "enclave-1")
            frame = pb.Chunk(data=bytes(1 << 20)).SerializeToString()
            for _ in range(64):
                link.spool.append(cargo, frame, 1 << 20)
            link.spool.end(cargo)
            down = download(channel, ID)
            await down.read()  # and no more
            await until(lambda: link.state.calls._calls)
            await until(lambda: not link.state.calls._calls)
            again = [frame async for frame in download(channel, ID)]
            assert len(again) == 64

    asyncio.run(test())
