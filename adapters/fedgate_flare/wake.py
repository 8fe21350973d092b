"""No sleeping: FLARE's polling loops wake when something happened.

FLARE waits with ``time.sleep(period)`` in many loops. The modules that hold those loops get, in
place of the module ``time``, an object whose ``sleep`` returns as soon as an event was announced.
Nothing else of them changes, and code of the job keeps the real ``time``.
"""

from __future__ import annotations

import functools
import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


class Bell:
    """Rings for everybody who waits; a ring since the caller's last look is never missed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        return self._rings

    def ring(self) -> None:
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, seen: int, timeout: float | None) -> int:
        """Until there were more rings than ``seen``, or ``timeout`` seconds; gives the rings."""
        with self._condition:
            self._condition.wait_for(lambda: self._rings != seen, timeout)
            return self._rings


class WakefulTime:
    """The module ``time``, except that ``sleep`` ends at the next ring of a bell."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._seen = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            seen = getattr(self._seen, "rings", -1)
            self._seen.rings = self._bell.wait(seen, seconds)


class HastyTime:
    """The module ``time``, except that one thread does not sleep at all."""

    def __init__(self) -> None:
        self._hasty: threading.Thread | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def hurry(self, thread: threading.Thread) -> None:
        self._hasty = thread

    def sleep(self, seconds: float) -> None:
        if threading.current_thread() is not self._hasty:
            time.sleep(seconds)


def wake_modules(bell: Bell, *names: str) -> None:
    """Give each module that imported ``time`` a wakeful one."""
    for name in names:
        module = importlib.import_module(name)
        if getattr(module, "time", None) is time:
            module.time = WakefulTime(bell)  # type: ignore[attr-defined]


def wake_loaded(bell: Bell, *names: str) -> None:
    """The same for those modules that are loaded already."""
    wake_modules(bell, *(name for name in names if name in sys.modules))


def ring_after(owner: type, method: str, ring: Callable[[], None]) -> None:
    """Ring whenever a method of ``owner`` has returned or raised."""
    original: Callable[..., Any] = getattr(owner, method)

    @functools.wraps(original)
    def ringing(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            ring()

    setattr(owner, method, ringing)
