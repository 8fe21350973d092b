"""A result is not read before the frames that came ahead of it have been given to the adapter.

Frames and results come in order, but they reach an adapter on different threads.
"""

from __future__ import annotations

import threading

#: Seconds that a result waits at most: an adapter that is stuck with a frame keeps its results.
_SECONDS = 10.0


class FramesInHand:
    """Thread-safe."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._came = self._handled = 0

    def came(self) -> None:
        with self._condition:
            self._came += 1

    def handled(self) -> None:
        """One more was given to the adapter; they are in the order in which they came."""
        with self._condition:
            self._handled += 1
            self._condition.notify_all()

    def wait(self) -> None:
        """Until what came before this call was handled; those that come meanwhile are not meant."""
        with self._condition:
            ahead = self._came
            self._condition.wait_for(lambda: self._handled >= ahead, _SECONDS)
