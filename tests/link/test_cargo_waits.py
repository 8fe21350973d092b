"""A gateway that takes a call and then does nothing costs its caller a bounded time."""

import asyncio
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
            await asyncio.wait_for(call(SimpleNamespace(bulk=channel)), 10)
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
