"""Models that a child does not get whole but reads piece by piece, as it needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from fedgate.errors import FedgateError, InvalidMessage
from fedgate_gateway.child import wire
from fedgate_gateway.child.memory import Buffer, Pool

#: Reads served at a time, and asked for at a time (each by a thread of the child).
_SERVED, _ASKED = 4, 1024


@runtime_checkable
class Deferred(Protocol):
    """A model that a child gets piece by piece, as it reads it."""

    @property
    def size(self) -> int: ...
    @property
    def header(self) -> memoryview: ...
    def read_into(self, begin: int, end: int, out: memoryview) -> None: ...
    def close(self) -> None: ...


class Serving:
    """The deferred models of one child, by the number of the part that stands for each."""

    def __init__(
        self, pool: Pool, *, write: Callable[[wire.Message], None], part: Callable[[Buffer], int]
    ) -> None:
        """``part`` sends a buffer as a part and gives its number."""
        self._pool = pool
        self._write = write
        self._part = part
        self._models: dict[int, Deferred] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_SERVED)

    def add(self, number: int, model: Deferred) -> None:
        self._models[number] = model

    def free(self, number: int) -> None:
        """The child needs it no more; other numbers are ignored."""
        model = self._models.pop(number, None)
        if model is not None:
            model.close()

    def fetch(self, header: Mapping[str, Any]) -> None:
        """The child reads a range; raises :class:`InvalidMessage` for one that there is not."""
        part, begin, end, request = (header.get(k) for k in ("k", "b", "e", "r"))
        model = self._models.get(part) if type(part) is int else None
        if (
            model is None
            or type(begin) is not int
            or type(end) is not int
            or type(request) is not int
            or not 0 <= begin < end <= model.size
            or len(self._reads) >= _ASKED
        ):
            raise InvalidMessage("a child asks for a part of a model that there is not")
        read = asyncio.get_running_loop().create_task(self._read(model, begin, end, request))
        self._reads.add(read)
        read.add_done_callback(self._reads.discard)

    async def _read(self, model: Deferred, begin: int, end: int, request: int) -> None:
        buffer = None
        try:
            async with self._turns:
                buffer = self._pool.take(end - begin)
                await asyncio.to_thread(model.read_into, begin, end, buffer.view)
        except (FedgateError, OSError, ValueError) as error:  # it may be closed meanwhile
            if buffer is not None:
                self._pool.give_back(buffer.number)
            self._write(wire.Message({"t": "fetched", "r": request, "error": str(error)[:1000]}))
        else:
            part = self._part(buffer)
            self._write(wire.Message({"t": "fetched", "r": request, "p": part}))

    def close(self) -> None:
        for read in self._reads:
            read.cancel()
        for model in self._models.values():
            model.close()
        self._models.clear()
