"""Protobuf over HTTP, as ``flwr`` speaks it: bounded requests, and answers that stream.

A call is ``POST <prefix>/<name>`` with a message in its body. A stream of answers is a sequence of
messages, each behind its length in four bytes, big-endian (``flwr/supercore/protobuf/client.py``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fedgate.errors import BundleTooLarge, InvalidMessage
from fedgate.front_door import Asker

MESSAGE, STREAM = "application/protobuf", "application/flower-protobuf-stream"
#: For calls that carry no app.
SMALL = 64 * 1024
#: What a start-run request may hold besides the app.
AROUND = 128 * 1024
_FRAME = 4
T = TypeVar("T", bound=Message)


async def read(request: Request, kind: type[T], limit: int) -> T:
    """The message in a request's body.

    Raises :class:`BundleTooLarge` as soon as ``limit`` bytes are exceeded, whatever was declared,
    and :class:`InvalidMessage`.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MESSAGE:
        raise InvalidMessage(f"a call is sent as {MESSAGE}")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BundleTooLarge(
                "the request is too large",
                why=f"the limit here is {limit} bytes",
                remedy="keep data and models out of the app",
            )
    try:
        return kind.FromString(bytes(body))
    except DecodeError as error:
        raise InvalidMessage(f"the body is not a {kind.DESCRIPTOR.name}") from error


def answer(message: Message) -> Response:
    return Response(message.SerializeToString(), media_type=MESSAGE)


def stream(messages: AsyncIterator[Message]) -> StreamingResponse:
    return StreamingResponse(_frames(messages), media_type=STREAM)


def asker(request: Request) -> Asker:
    address = request.client.host if request.client else ""
    return Asker(host=request.headers.get("host", ""), address=address)


async def _frames(messages: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    async for message in messages:
        payload = message.SerializeToString()
        yield len(payload).to_bytes(_FRAME, "big") + payload
