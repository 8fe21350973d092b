"""Frames that F3 has taken and not handled yet: it handles them on the threads of a pool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

from fedgate_flare import _nvflare_private as private

_POOL = "frame_mgr"


class _Count:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.number = 0

    def add(self, number: int) -> None:
        with self.changed:
            self.number += number
            self.changed.notify_all()


class CountedPool(ThreadPoolExecutor):
    """F3's pools, of which that for frames counts what it has to do."""

    frames: ClassVar[_Count] = _Count()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not (self._thread_name_prefix or "").startswith(_POOL):  # the others' work never ends
            return super().submit(fn, *args, **kwargs)
        self.frames.add(1)
        try:
            future = super().submit(fn, *args, **kwargs)
        except BaseException:
            self.frames.add(-1)
            raise
        future.add_done_callback(lambda _future: self.frames.add(-1))
        return future


def watch() -> None:
    """Count in this process, from the next cell that is made."""
    private.conn_manager_module.ThreadPoolExecutor = CountedPool


def wait_until_handled(timeout: float) -> bool:
    """Until every frame that F3 was given has been handled; False after ``timeout`` seconds."""
    count = CountedPool.frames
    with count.changed:
        return count.changed.wait_for(lambda: count.number == 0, timeout)
