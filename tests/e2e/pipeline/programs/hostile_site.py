"""A site that announces what it never sends, or sends what nobody fetches; otherwise the real one.

``order.json`` lies beside its configuration; what it does instead of sending a result:

    {"site": {"announce": [[NOTE, MODEL], ...]}}    results of these sizes, of which nothing comes
    {"site": {"uploads": [[SIZE, BYTES], ...]}}     cargo of this size, of which so much comes
    {"site": {"files": true}}                       files that no enclave collects
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fedgate_gateway.cli.main import main
from fedgate_gateway.link import methods
from fedgate_gateway.link.control import write_files
from fedgate_gateway.link.packet import Packet
from fedgate_gateway.sealed import CargoKey, LetterKind
from fedgate_gateway.site.egress import Egress
from fedgate_proto.v1 import link_pb2 as pb

FOLDER = Path(sys.argv[sys.argv.index("--config") + 1]).parent
_real = Egress._seal
_hanging: set[Any] = set()


def order() -> dict[str, Any]:
    path = FOLDER / "order.json"
    return dict(json.loads(path.read_text()).get("site", {})) if path.exists() else {}


async def seal(self: Egress, result: Any, note: bytes, model: Any) -> None:
    ordered = order()
    if not ordered:
        await _real(self, result, note, model)
    for note_bytes, model_bytes in ordered.get("announce", ()):
        key = CargoKey.generate(model_bytes) if model_bytes else None
        body = CargoKey.generate(note_bytes) if note_bytes else note
        packet = Packet(body, key, task=result.task)
        channel = self._channel()
        assert channel is not None
        channel.post(LetterKind.RESULT, packet.to_bytes(), cargo=packet.cargo)
        print("announced", flush=True)
    if ordered.get("files"):
        key, channel = CargoKey.generate(100), self._channel()
        assert channel is not None
        channel.post(LetterKind.CONTROL, write_files(key, whole=True), cargo=(key.ref,))
    for size, sent in ordered.get("uploads", ()):
        _hanging.add(asyncio.create_task(upload(self, size, sent)))


async def upload(self: Egress, size: int, sent: int) -> None:
    async def chunks() -> AsyncIterator[pb.Chunk]:
        header = pb.CargoHeader(job=self._job, cargo=os.urandom(16), size=size)
        yield pb.Chunk(cargo=header)
        for number in range(sent // methods.CHUNK):
            if number == 4:
                print("hogging", flush=True)
            yield pb.Chunk(data=bytes(methods.CHUNK))
        print("holding", flush=True)
        await asyncio.sleep(1000)

    call = self.deliveries._link.bulk.stream_unary(
        methods.UPLOAD_CARGO,
        request_serializer=pb.Chunk.SerializeToString,
        response_deserializer=pb.Receipt.FromString,
    )
    try:
        await call(chunks())
    except Exception as error:
        print("refused:", error.details(), flush=True)  # type: ignore[attr-defined]


Egress._seal = seal  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
