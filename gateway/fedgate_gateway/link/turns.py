"""Large transfers take turns, so that what they hold does not grow with the number of senders.

Whoever gets less than a slow line would bring loses its turn, not its transfer: a sender that
stalls, by accident or on purpose, must not hold up the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

#: Bytes that a transfer must bring in so many seconds to keep its turn (1.6 MB/s).
_LEAST, _SECONDS = 16 << 20, 10.0

#: Told of every piece that arrived, with its size in bytes.
Progress = Callable[[int], None]


class Turns:
    """At most ``count`` transfers at a time, and those that lost their turn."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[Progress]:
        """Waits for a turn; gives what to call as pieces arrive."""
        await self._free.acquire()
        turn = _Turn(self._free)
        try:
            yield turn.moved
        finally:
            turn.give_back()


class _Turn:
    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._held = True
        self._bytes = 0
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._look)

    def moved(self, size: int) -> None:
        self._bytes += size

    def _look(self) -> None:
        if self._bytes < _LEAST:
            self.give_back()
            return
        self._bytes = 0
        self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._look)

    def give_back(self) -> None:
        """Idempotent."""
        if self._held:
            self._held = False
            self._timer.cancel()
            self._free.release()
