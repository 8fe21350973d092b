"""When a broadcast or relay of a workflow is over: its round is written down then.

A site that has been handed its share of one may not have been sent it yet when the workflow closes
it. Whichever is first: what was closed is not sent any more, and it is said to be over only when
nothing of it is on its way out.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable

from fedgate.adapter import Federation
from fedgate_flare import _nvflare_private as private


class Steps:
    """Thread-safe; a step is known by the id that all shares of one FLARE task have."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._lock = threading.Lock()
        self._leaving: Counter[str] = Counter()
        self._over: set[str] = set()

    def may_send(self, step: str) -> bool:
        """Is it open? Then call :meth:`sent` when its task has been sent."""
        with self._lock:
            if step in self._over:
                return False
            self._leaving[step] += 1
            return True

    def sent(self, step: str) -> None:
        with self._lock:
            self._leaving[step] -= 1
            if self._leaving[step]:
                return
            del self._leaving[step]
            over = step in self._over
        if over:
            self._federation.end_step(step)

    def end(self, step: str) -> None:
        with self._lock:
            if step in self._over:
                return
            self._over.add(step)
            if step in self._leaving:
                return
        self._federation.end_step(step)


def watch(end: Callable[[str], None]) -> None:
    """Have ``end`` called for each task that FLARE takes down, before its workflow hears of it."""
    module = private.wf_comm_server_module
    take_down = module.delete_msg_root

    @functools.wraps(take_down)
    def ending(msg_root_id: str) -> None:
        end(msg_root_id)
        take_down(msg_root_id)

    module.delete_msg_root = ending
