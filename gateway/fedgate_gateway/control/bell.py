"""Waking those who wait for a job's next event, from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

#: The name under which one listens to (and rings for) changes of any job's state.
ANY = ""


class Bell:
    """One bell for each job; listeners live on event loops, ringers on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[str, set[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = (
            defaultdict(set)
        )

    @contextmanager
    def listen(self, job: str) -> Iterator[asyncio.Event]:
        """An event that is set by every ring from now on; take it before looking, to miss none."""
        listener = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._listeners[job].add(listener)
        try:
            yield listener[1]
        finally:
            with self._lock:
                self._listeners[job].discard(listener)
                if not self._listeners[job]:
                    del self._listeners[job]

    def ring(self, job: str) -> None:
        """Wake those who listen to this job; ``ANY`` wakes those who watch all jobs' states."""
        with self._lock:
            listeners = tuple(self._listeners.get(job, ()))
        for loop, event in listeners:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
