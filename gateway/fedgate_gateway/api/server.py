"""Serving the API over TLS inside a loop that also does other things."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from fedgate.errors import Unavailable
from fedgate.front_door import AsgiApp
from fedgate_gateway.api.prompt import HEADER_SECONDS, prompt_protocol
from fedgate_gateway.pki import ServerFiles

_HEADER_BYTES = 32 * 1024
_CONNECTIONS = 512
_REREAD_EVERY = 60.0


class _Embedded(uvicorn.Server):
    """Leaves signals to the program; uvicorn would take them for itself."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()


def tls_context(files: ServerFiles) -> ssl.SSLContext:
    """TLS 1.3 with the gateway's certificate; clients show tokens, not certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


async def _reread(context: ssl.SSLContext, files: ServerFiles) -> None:
    """Connections that come after a renewal see the new certificate; nobody is cut off."""
    shown = files.certificate.read_bytes()
    while True:
        await asyncio.sleep(_REREAD_EVERY)
        if (found := files.certificate.read_bytes()) != shown:
            context.load_cert_chain(files.certificate, files.key)
            shown = found


async def serve(
    app: AsgiApp,
    *,
    host: str,
    port: int,
    tls: ServerFiles,
    stop: asyncio.Event,
    ready: Callable[[int], None] | None = None,
    connections: int = _CONNECTIONS,
    header_seconds: float = HEADER_SECONDS,
) -> None:
    """Serve until ``stop`` is set; ``ready(port)`` is called once requests are answered.

    ``port`` 0 lets the system choose. Raises :class:`Unavailable` when the address is taken.
    """
    context = tls_context(tls)
    config = uvicorn.Config(
        app,
        http=prompt_protocol(header_seconds),  # on h11, which enforces the limit on headers below
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_graceful_shutdown=3,
        # uvicorn has no other way to be handed a context, and takes no TLS without a file's name.
        ssl_certfile=tls.certificate,
        ssl_context_factory=lambda *_: context,
    )
    listener = _listen(host, port)
    server = _Embedded(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="fedgate-api")
    answering = asyncio.create_task(server.answering.wait())
    stopping = asyncio.create_task(stop.wait())
    renewing = asyncio.create_task(_reread(context, tls))
    try:
        await asyncio.wait({serving, answering}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done() and ready is not None:
            ready(_port(listener))
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        answering.cancel()
        stopping.cancel()
        renewing.cancel()
        server.should_exit = True
        await serving
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"the API cannot listen on {host}:{port}",
            why=str(error.strerror or error),
            remedy="stop whoever uses the port, or change [api] in the configuration",
        ) from error
    return listener


def _port(listener: socket.socket) -> int:
    address: Any = listener.getsockname()
    return int(address[1])
