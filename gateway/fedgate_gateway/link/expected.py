"""Words on cargo that may come before anybody waits for them, and only so many."""

from __future__ import annotations

import asyncio
from typing import Final, Generic, TypeVar

#: Words that are kept for cargo whose turn has not come; of more the oldest is forgotten.
MOST: Final = 64
_T = TypeVar("_T")


class Expected(Generic[_T]):
    """What a peer says of a cargo, by its id; the first word counts."""

    def __init__(self) -> None:
        self._words: dict[bytes, asyncio.Future[_T]] = {}
        self._awaited: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._words)

    def of(self, id: bytes) -> asyncio.Future[_T]:
        """To be waited for, until :meth:`forget`."""
        self._awaited.add(id)
        return self._word(id)

    def tell(self, id: bytes, word: _T) -> None:
        waiting = self._word(id)
        if not waiting.done():
            waiting.set_result(word)

    def forget(self, id: bytes) -> None:
        self._awaited.discard(id)
        self._words.pop(id, None)

    def _word(self, id: bytes) -> asyncio.Future[_T]:
        word = self._words.get(id)
        if word is None:
            idle = [other for other in self._words if other not in self._awaited]
            if len(idle) >= MOST:  # its cargo never came
                del self._words[idle[0]]
            word = self._words[id] = asyncio.get_running_loop().create_future()
        return word
