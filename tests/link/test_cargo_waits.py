"""A gateway that takes a call and then does nothing costs its caller a bounded time."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from fedgate.errors import Unavailable
from fedgate_gateway.link import cargo, methods
from fedgate_proto.v1 import link_pb2 as pb


async def _pieces() -> AsyncIterator[bytes]:
    yield b"x"


_REFUSED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


def serving(answer: Callable[..., AsyncIterator[pb.Chunk]]) -> grpc.aio.Server:
    """A gateway that hands out bundles, and is neither bound nor started yet."""
    server = grpc.aio.server()
    handlers = {"FetchBundle": grpc.unary_stream_rpc_method_handler(
        answer, response_serializer=pb.Chunk.SerializeToString
    )}  # fmt: skip
    generic = grpc.method_handlers_generic_handler(methods.SERVICE, handlers)
    server.add_generic_rpc_handlers((generic,))
    return server


def test_a_bundle_is_fetched_from_a_gateway_that_takes_connections_a_moment_later() -> None:
    async def answer(*_: Any) -> AsyncIterator[pb.Chunk]:
        yield pb.Chunk(data=b"the bundle")

    async def fetch_early() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_reconnect_backoff_ms", 200)]
        ) as channel:
            link: Any = SimpleNamespace(bulk=channel)
            fetching = asyncio.create_task(cargo.fetch_bundle(link, "job-1", 100))
            while channel.get_state(try_to_connect=True) is not _REFUSED:
                await asyncio.sleep(0.01)
            server = serving(answer)
            server.add_insecure_port(f"127.0.0.1:{port}")
            await server.start()
            try:
                return await fetching
            finally:
                await server.stop(0)

    assert asyncio.run(asyncio.wait_for(fetch_early(), 60)) == b"the bundle"


def test_a_bundle_is_asked_for_again_while_the_gateway_has_it_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its object store is away for a moment: that must not become a site's no to the job."""
    monkeypatch.setattr(cargo, "_PAUSE", 0.01)
    asked: list[int] = []

    async def answer(_: Any, context: Any) -> AsyncIterator[pb.Chunk]:
        asked.append(1)
        if len(asked) < 6:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the object store does not answer")
        yield pb.Chunk(data=b"the bundle")

    async def fetch() -> bytes:
        server = serving(answer)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await cargo.fetch_bundle(SimpleNamespace(bulk=channel), "job-1", 100)
        finally:
            await server.stop(0)

    assert asyncio.run(asyncio.wait_for(fetch(), 60)) == b"the bundle"
    assert len(asked) == 6


async def _with_stalled_gateway(call: Callable[[Any], Awaitable[Any]]) -> None:
    async def stall(*_: Any) -> Any:
        await asyncio.sleep(30)

    async def stall_stream(*_: Any) -> Any:
        await asyncio.sleep(30)
        yield b""

    server = grpc.aio.server()
    handlers = {
        "FetchBundle": grpc.unary_stream_rpc_method_handler(stall_stream),
        "UploadOutput": grpc.stream_unary_rpc_method_handler(stall),
    }
    generic = grpc.method_handlers_generic_handler(methods.SERVICE, handlers)
    server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(call(SimpleNamespace(bulk=channel)), 60)
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    "call",
    [
        lambda link: cargo.fetch_bundle(link, "job-1", 100),
        lambda link: cargo.upload_output(link, pb.OutputHeader(job="job-1"), _pieces()),
    ],
    ids=["fetching a bundle", "releasing an output"],
)
def test_a_stalled_gateway_is_given_up(
    call: Callable[[Any], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cargo, "_BUNDLE_SECONDS", 0.3)
    monkeypatch.setattr(cargo, "_OUTPUT_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
        asyncio.run(_with_stalled_gateway(call))
