"""Who is being served right now, so that it ends at once when somebody must not be served any more.

A request is admitted once; a stream of events or the transfer of a model can last for hours.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from fedgate_gateway.shares import Hold

#: The call that is served in this context, where somebody keeps account of it.
SERVING: ContextVar[OpenCall | None] = ContextVar("serving", default=None)


class OpenCall:
    """A task that serves somebody, and what it holds of shares as long as it lasts."""

    def __init__(
        self,
        on_claim: Callable[[str], Hold | None] = lambda _holder: None,
        farewell: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """``on_claim`` is asked once it is known whom this serves; it may refuse. ``farewell``
        tells whoever is served, where the end of the task alone would not.
        """
        self._farewell = farewell
        self._leaving: asyncio.Task[None] | None = None
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._on_claim = on_claim
        self._holds: list[Hold] = []
        self.holder = ""
        #: It was ended by us: whoever catches its cancellation knows why.
        self.ended = False
        self.over = False
        #: It shows what happens for as long as it happens, and never ends by itself.
        self.streams = False

    def claimed(self, holder: str) -> None:
        first, self.holder = not self.holder, holder
        hold = self._on_claim(holder) if first else None
        if hold is not None:
            self.keep(hold)

    def keep(self, hold: Hold) -> None:
        """Until the call is over."""
        self._holds.append(hold)

    def end(self, after: float = 0.0) -> None:
        """Cancel the task, from any thread, after so many seconds."""
        if not self._loop.is_closed():
            later = lambda: self._loop.call_later(after, self.cancel)  # noqa: E731
            self._loop.call_soon_threadsafe(later if after > 0 else self.cancel)

    def cancel(self) -> None:
        """On its own loop. Idempotent."""
        if not (self.over or self.ended or self._task.done()):
            self.ended = True
            if self._farewell is None:
                self._task.cancel()
            else:
                self._leaving = self._loop.create_task(self._farewell())
                self._leaving.add_done_callback(lambda _: self._task.cancel())

    def close(self) -> None:
        self.over = True
        for hold in self._holds:
            hold.give_back()


class OpenCalls:
    """Open calls by the holder of the access that they were admitted with. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, set[OpenCall]] = defaultdict(set)

    def join(self, holder: str, call: OpenCall) -> None:
        """Before the access is checked: what is revoked in between must not be missed.

        Raises :class:`~fedgate.errors.LimitReached` where the holder has too many of its kind.
        """
        with self._lock:
            self._calls[holder].add(call)
        call.claimed(holder)

    def leave(self, call: OpenCall) -> None:
        """Idempotent; gives back whatever the call held."""
        call.close()
        with self._lock:
            calls = self._calls.get(call.holder)
            if calls is not None:
                calls.discard(call)
                if not calls:
                    del self._calls[call.holder]

    def end_streams(self) -> None:
        """Whoever watches hears an end in order; the program stops."""
        with self._lock:
            calls = [call for calls in self._calls.values() for call in calls if call.streams]
        for call in calls:
            call.end()

    def end(self, holder: str) -> None:
        """End everything that is open for ``holder``."""
        with self._lock:
            calls = tuple(self._calls.get(holder, ()))
        for call in calls:
            call.end()
