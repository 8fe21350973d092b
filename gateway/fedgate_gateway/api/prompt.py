"""Connections that ask for nothing, before anybody knows whose they are."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

#: For a request's header to be whole, from the connection's first moment or the last answer.
HEADER_SECONDS = 10.0


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on whoever does not finish a request's header in time.

    Once half of all connections are taken, each newcomer takes the place of the one that has been
    silent for longest: whoever asks at once is served, however many hold connections open.
    Make a class for each server with :func:`prompt_protocol`.
    """

    header_seconds: ClassVar[float]
    #: Those that owe us a request, the longest first.
    silent: ClassVar[dict[PromptProtocol, asyncio.TimerHandle]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.silent and 2 * len(self.connections) > (self.limit_concurrency or 0):
            next(iter(self.silent)).hang_up()
        self._look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def hang_up(self) -> None:
        self._forget()
        self.transport.abort()

    def _look(self) -> None:
        if self.transport.is_closing() or (self.cycle and not self.cycle.response_complete):
            self._forget()
        elif self not in self.silent:
            self.silent[self] = self.loop.call_later(self.header_seconds, self.hang_up)

    def _forget(self) -> None:
        timer = self.silent.pop(self, None)
        if timer is not None:
            timer.cancel()


def prompt_protocol(header_seconds: float = HEADER_SECONDS) -> type[PromptProtocol]:
    class Served(PromptProtocol):
        pass

    Served.header_seconds, Served.silent = header_seconds, {}
    return Served
