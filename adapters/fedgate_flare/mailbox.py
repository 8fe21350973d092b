"""Where the thread that brings tasks meets FLARE's client runner, which fetches them."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable

from nvflare.apis.shareable import Shareable

#: How often a waiting runner looks whether its job was aborted by one of its own components.
_LOOK = 0.5


class Nothing(enum.Enum):
    """Why a runner gets no task."""

    YET = "ask again"
    MORE = "the job is over"


class Mailbox:
    """One task and its result at a time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._task: Shareable | None = None
        self._result: Shareable | None = None
        self._asked = False
        self._poked = False
        self._begun = False
        self._closed = False
        self._ended = False

    # -- the bringer ---------------------------------------------------------------------------

    def wait_until_asked(self, timeout: float | None = None) -> bool:
        """True once the runner has asked for its first task; False if it ended before."""
        with self._condition:
            self._condition.wait_for(lambda: self._asked or self._ended, timeout)
            return self._asked and not self._ended

    def begin(self, timeout: float) -> bool:
        """Let a runner go on that holds; False if it ended, or asks for no task in time."""
        with self._condition:
            self._begun, self._asked = True, False
            self._condition.notify_all()
        return self.wait_until_asked(timeout)

    def exchange(self, task: Shareable) -> Shareable | None:
        """Hand over a task and wait for its result; None if the runner ended instead."""
        with self._condition:
            self._begun = True
            self._task, self._result = task, None
            del task
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._result is not None or self._ended)
            result, self._result, self._task = self._result, None, None
            return result

    def close(self) -> None:
        """No more tasks: the runner is told to end."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    # -- the runner ----------------------------------------------------------------------------

    def hold(self) -> None:
        """Wait until the server's side has begun; towards the bringer the runner is there."""
        with self._condition:
            self._asked = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._begun or self._closed)

    def fetch(self, aborted: Callable[[], bool], patience: float = math.inf) -> Shareable | Nothing:
        """The next task; or why there is none, after ``patience`` seconds or a poke."""
        deadline = time.monotonic() + patience
        with self._condition:
            self._asked = True
            self._condition.notify_all()
            while not self._closed and not aborted():
                if self._task is not None:
                    task, self._task = self._task, None
                    return task
                left = deadline - time.monotonic()
                if self._poked or left <= 0:
                    self._poked = False
                    return Nothing.YET
                self._condition.wait(min(_LOOK, left))
            return Nothing.MORE

    def poke(self) -> None:
        """Let a runner that waits for a task look up: it has something to say."""
        with self._condition:
            self._poked = True
            self._condition.notify_all()

    def deliver(self, result: Shareable) -> None:
        with self._condition:
            self._result = result
            self._condition.notify_all()

    def end(self) -> None:
        """The runner has ended, for whatever reason."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
