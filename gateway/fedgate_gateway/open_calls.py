"""Who is being served right now, so that it ends at once when somebody must not be served any more.

A request is admitted once; a stream of events or the transfer of a model can last for hours.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict


class OpenCall:
    """A task that serves somebody."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        #: It was ended by us: whoever catches its cancellation knows why.
        self.ended = False
        self.over = False

    def end(self) -> None:
        """Cancel the task, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not (self.over or self.ended or self._task.done()):
            self.ended = True
            self._task.cancel()


class OpenCalls:
    """Open calls by the holder of the access that they were admitted with. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, set[OpenCall]] = defaultdict(set)

    def join(self, holder: str, call: OpenCall) -> None:
        """Before the access is checked: what is revoked in between must not be missed."""
        with self._lock:
            self._calls[holder].add(call)

    def leave(self, holder: str, call: OpenCall) -> None:
        """Idempotent."""
        call.over = True
        with self._lock:
            calls = self._calls.get(holder)
            if calls is not None:
                calls.discard(call)
                if not calls:
                    del self._calls[holder]

    def end(self, holder: str) -> None:
        """End everything that is open for ``holder``."""
        with self._lock:
            calls = tuple(self._calls.get(holder, ()))
        for call in calls:
            call.end()
