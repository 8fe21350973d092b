"""Bounds that hold before any handler runs: the size of a body, and safe answer headers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedgate.bundle import KIB
from fedgate.errors import BundleTooLarge, DeadlineExceeded
from fedgate_gateway.api.problems import problem

#: For everything but the upload of a bundle, which counts for itself.
BODY_BYTES = 256 * KIB


class _RefusedError(ClientDisconnect):
    """A body is too large, or stands still; to the application its sender is gone."""


class BodyLimit:
    """Refuses larger bodies by their declared size, and stops reading those that lie."""

    def __init__(
        self, app: ASGIApp, *, uploads: Collection[str], upload_bytes: int, idle_seconds: float
    ) -> None:
        """``uploads``: the paths on which a bundle may come."""
        self._idle_seconds = idle_seconds
        self._app = app
        self._uploads = frozenset(uploads)
        self._upload_bytes = upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["path"] in self._uploads and scope["method"] == "POST"
        limit = self._upload_bytes if upload else BODY_BYTES
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await _refusal(scope, limit)(scope, receive, send)
            return
        await self._counted(scope, receive, send, limit)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        received, answered, whole = 0, False, False
        refusal: ASGIApp | None = None

        async def counting() -> Message:
            nonlocal received, refusal, whole
            if whole:  # what comes now is that the sender has gone
                return await receive()
            try:
                async with asyncio.timeout(self._idle_seconds):
                    message = await receive()
            except TimeoutError:
                refusal = _idle(scope, self._idle_seconds)
                raise _RefusedError from None
            received += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if received > limit:
                refusal = _refusal(scope, limit)
                raise _RefusedError
            return message

        async def watching(message: Message) -> None:
            nonlocal answered
            if refusal is not None and not answered:
                return  # whatever the framework makes of the interruption, ours is the answer
            answered = True
            await send(message)

        with suppress(_RefusedError):
            await self._app(scope, counting, watching)
        if refusal is not None and not answered:
            await refusal(scope, receive, send)


class SafeHeaders:
    """Answers are for whoever asked: not stored by caches, not sniffed by browsers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        await self._app(scope, receive, adding)


def _refusal(scope: Scope, limit: int) -> ASGIApp:
    return problem(
        scope["path"],
        413,
        BundleTooLarge.code,
        "the request is too large",
        why=f"the limit here is {limit} bytes",
        remedy="leave data and models out of the workload, or raise limits.bundle_bytes",
        headers={"Connection": "close"},
    )


def _idle(scope: Scope, seconds: float) -> ASGIApp:
    return problem(
        scope["path"],
        408,
        DeadlineExceeded.code,
        "the request stood still",
        why=f"nothing came for {seconds:g} s",
        remedy="send it again",
        headers={"Connection": "close"},
    )
