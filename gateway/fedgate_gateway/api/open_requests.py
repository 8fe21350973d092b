"""Requests end with the access that they were admitted with, and when nobody reads the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedgate.errors import Unauthenticated
from fedgate_gateway.api.problems import problem_of
from fedgate_gateway.control.api_shares import ApiShares
from fedgate_gateway.open_calls import SERVING, OpenCall, OpenCalls


class OpenRequests:
    """Keeps account of every request; gives back what it held of shares once it is over."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        calls: OpenCalls,
        shares: ApiShares,
        uploads: Collection[str],
        idle_seconds: float,
    ) -> None:
        """``uploads``: the paths on which a bundle may come; a token may send a few at a time."""
        self._app = app
        self._calls = calls
        self._shares = shares
        self._uploads = frozenset(uploads)
        self._idle = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["method"] == "POST" and scope["path"] in self._uploads
        call = OpenCall(self._shares.upload) if upload else OpenCall()
        serving = SERVING.set(call)
        answer = _Answer(call, send, self._idle)
        try:
            await self._app(scope, receive, answer.send)
        except asyncio.CancelledError:
            if not call.ended:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            await answer.cut_off(scope, receive)
        finally:
            SERVING.reset(serving)
            self._calls.leave(call)


class _Answer:
    def __init__(self, call: OpenCall, send: Send, idle: float) -> None:
        self._call = call
        self._send = send
        self._idle = idle
        self._begun = self._sized = self._stalled = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            self._sized = "content-length" in Headers(raw=message["headers"])
        try:
            async with asyncio.timeout(self._idle):
                await self._send(message)
        except TimeoutError:
            self._stalled = True
            self._call.cancel()
            await asyncio.sleep(self._idle)  # the cancellation arrives here

    async def cut_off(self, scope: Scope, receive: Receive) -> None:
        """A stream of events ends in order; a file does not: its reader must see that."""
        if not self._begun:
            error = Unauthenticated("the token was revoked", why="while it was in use")
            await problem_of(error, scope["path"])(scope, receive, self._send)
        elif not (self._sized or self._stalled):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
