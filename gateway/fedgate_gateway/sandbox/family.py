"""A process and all that descend from it: who they are, and their end. Read from /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

#: Seconds between two looks at processes that were told to end.
_PAUSE = 0.002


def available() -> bool:
    """Does this kernel tell the children of a process (CONFIG_PROC_CHILDREN)?"""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in os.scandir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(thread.path, "children").read_bytes().split())
    return found


def descendants(pid: int) -> Iterator[int]:
    """Children, and theirs; no process twice, parents before children."""
    seen, waiting = {pid}, [pid]
    while waiting:
        for child in children(waiting.pop()):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def end_all(but: Callable[[], Collection[int]], seconds: float) -> bool:
    """End every child of this process that is not in ``but()``, with all that descend from it.

    Orphans come to this process if it asked for them; so it goes on until there is none. False if
    some were left after ``seconds``.
    """
    me, deadline = os.getpid(), time.monotonic() + seconds
    before: set[int] = set()
    while True:
        mine = set(children(me)) - set(but())
        if not mine:
            return True
        for child in mine:
            _kill(child, {me})
            family = {child, *descendants(child)}
            for pid in family - {child}:
                _kill(pid, family)
        for child in mine:
            with suppress(OSError):
                os.waitpid(child, os.WNOHANG)
        if time.monotonic() > deadline:
            return False
        if mine == before:  # at others it looks again at once: they may be quick
            time.sleep(_PAUSE)
        before = mine


def _kill(pid: int, parents: Collection[int]) -> None:
    """Kill ``pid`` if its parent is one of ``parents``: the number may be another process's now."""
    with suppress(OSError, ValueError, IndexError):
        handle = os.pidfd_open(pid)
        try:
            told = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            if int(told.rsplit(")", 1)[1].split()[1]) in parents:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
