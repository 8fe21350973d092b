"""Streaming released outputs to whoever may have them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

from fastapi.responses import StreamingResponse

from fedgate_gateway.control.records import Output
from fedgate_gateway.store import Objects


async def download(
    objects: Objects, output: Output, *, media_type: str = "application/octet-stream"
) -> StreamingResponse:
    """The stored bytes, with their SHA-256 (RFC 9530) and whether they are sealed."""
    chunks = objects.stream(output.object_key)
    # The first chunk is read before the answer begins: what is missing becomes a proper error.
    first = await anext(chunks, b"")
    digest = base64.b64encode(bytes.fromhex(output.digest.removeprefix("sha256:"))).decode()
    headers = {
        "Content-Length": str(output.size),
        "Content-Disposition": f'attachment; filename="{output.name}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Fedgate-Sealed": "true" if output.sealed else "false",
    }
    return StreamingResponse(_rest(first, chunks), media_type=media_type, headers=headers)


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk
