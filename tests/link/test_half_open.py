"""A line that dies without a word is noticed before the grace of those behind it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.config.programs import EnclaveConfig
from fedgate_gateway.link import methods

ECHO = "/half.Open/Echo"


def _milliseconds(options: methods.Options, name: str) -> int:
    return int(dict(options)[f"grpc.{name}"])


@pytest.mark.parametrize("options", [methods.CLIENT_OPTIONS, methods.SERVER_OPTIONS])
def test_bulk_transfers_notice_it_as_soon_as_the_control_stream_does(
    options: methods.Options,
) -> None:
    every = _milliseconds(options, "keepalive_time_ms")
    waits = ("keepalive_timeout_ms", "http2.ping_timeout_ms")
    noticed = (every + max(_milliseconds(options, name) for name in waits)) / 1000
    assert noticed <= GatewayLimits().silence
    assert noticed < EnclaveConfig.model_fields["grace_seconds"].default
    asked = "http2.min_ping_interval_without_data_ms"
    assert every > _milliseconds(methods.SERVER_OPTIONS, asked), "it would be sent away"


class Line:
    """A proxy of bytes, until it is paused: then both ends stay open and nothing passes."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.paused = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> int:
        self.server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def _join(self, reader: Any, writer: Any) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, to in ((reader, up_writer), (up_reader, writer)):
            self._tasks.append(asyncio.ensure_future(self._pass(source, to)))

    async def _pass(self, source: Any, to: Any) -> None:
        while data := await source.read(65536):
            if self.paused.is_set():
                await asyncio.Event().wait()
            to.write(data)

    def close(self) -> None:
        self.server.close()
        for task in self._tasks:
            task.cancel()


@pytest.mark.torture
@pytest.mark.timeout(120)
def test_a_transfer_on_a_paused_line_breaks_at_both_ends() -> None:
    async def test() -> None:
        ended = asyncio.Event()

        async def echo(requests: Any, context: Any) -> Any:
            context.add_done_callback(lambda _: ended.set())
            async for request in requests:
                yield request

        server = grpc.aio.server(options=methods.SERVER_OPTIONS)
        handler = grpc.stream_stream_rpc_method_handler(echo)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("half.Open", {"Echo": handler}),)
        )
        line = Line(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        target = f"127.0.0.1:{await line.open()}"
        async with grpc.aio.insecure_channel(target, options=methods.CLIENT_OPTIONS) as channel:
            call: Any = channel.stream_stream(ECHO)()
            await call.write(b"a chunk")
            assert await call.read() == b"a chunk"
            line.paused.set()
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await asyncio.wait_for(call.read(), 60)
            assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
            assert loop.time() - began < EnclaveConfig.model_fields["grace_seconds"].default
            await asyncio.wait_for(ended.wait(), 60)
        line.close()
        await server.stop(0)

    asyncio.run(test())
