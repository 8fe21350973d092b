"""Bundles go to the door at hand, which signs them; every other call goes to the gateway as it is.

The gateway's own door answers those, with the profile's token: they change nothing that a site
relies on. Without the secret that the door wrote for its command nothing is forwarded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fedgate.front_door import FrontDoor
from fedgate_gateway.local_door.desk import LocalDesk

#: What is no bundle is small.
_BODY_BYTES = 64 * 1024
_TIMES = httpx.Timeout(30, connect=5, read=60)
_PASSED = ("content-type", "www-authenticate")


class LocalDoor:
    """An ASGI app; ``http`` reaches the gateway and carries the profile's token."""

    def __init__(self, door: FrontDoor, desk: LocalDesk, http: httpx.AsyncClient) -> None:
        self._door = door
        self._desk = desk
        self._http = http
        self._ours = door.app(desk)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        path = request.url.path
        here = path in self._door.uploads or not self._desk.knows(_bearer(request))
        if not path.startswith(f"{self._door.prefix}/"):
            await JSONResponse({"detail": "nothing is here"}, 404)(scope, receive, send)
        elif here:
            await self._ours(scope, receive, send)
        else:
            await (await self._forward(request))(scope, receive, send)

    async def _forward(self, request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _BODY_BYTES:
                return JSONResponse({"detail": "the request is too large"}, 413)
        asked = self._http.build_request(
            request.method,
            request.url.path,
            content=bytes(body),
            headers={"Content-Type": request.headers.get("content-type", "")},
            timeout=_TIMES,
        )
        try:
            answer = await self._http.send(asked, stream=True)
        except httpx.TransportError as error:
            detail = f"the gateway cannot be reached: {str(error) or type(error).__name__}"
            return JSONResponse({"detail": detail}, 503)
        headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
        return StreamingResponse(_pieces(answer), answer.status_code, headers=headers)


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_bytes():
            yield piece
    except httpx.TransportError:
        return  # the command sees a stream that ended, and asks again
    finally:
        await answer.aclose()


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
