"""Who is inspected now, and who waits: by turns, so that nobody keeps all the others waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator

from fedgate.errors import LimitReached


class Seats:
    """``count`` at a time, half of them for one holder at most; ``waiting`` may wait."""

    def __init__(self, count: int, waiting: int) -> None:
        self._free = count
        self._each = max(1, count // 2)
        self._most = waiting
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of turns

    @contextlib.asynccontextmanager
    async def one(self, holder: str) -> AsyncIterator[None]:
        """Raises :class:`LimitReached` when too many wait."""
        await self._take(holder)
        try:
            yield
        finally:
            self._give_back(holder)

    async def _take(self, holder: str) -> None:
        if self._may(holder) and holder not in self._waiting:
            self._seat(holder)
            return
        waiting = sum(map(len, self._waiting.values()))
        if waiting >= self._most:
            raise LimitReached(
                "too many bundles are being inspected",
                why=f"{waiting} wait already",
                remedy="try again in a few seconds",
                limit="inspections",
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(holder, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was our turn just now
                self._give_back(holder)
            raise

    def _may(self, holder: str) -> bool:
        return self._free > 0 and self._held[holder] < self._each

    def _seat(self, holder: str) -> None:
        self._free -= 1
        self._held[holder] += 1

    def _give_back(self, holder: str) -> None:
        self._free += 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
        while (turn := self._next()) is not None:
            turn.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        """Whose turn it is now, seated; the others of the same holder come last again."""
        for holder in list(self._waiting):
            turns = self._waiting[holder]
            while turns and turns[0].cancelled():
                turns.popleft()
            if turns and not self._may(holder):
                continue
            del self._waiting[holder]
            if not turns:
                continue
            turn = turns.popleft()
            if turns:
                self._waiting[holder] = turns
            self._seat(holder)
            return turn
        return None
