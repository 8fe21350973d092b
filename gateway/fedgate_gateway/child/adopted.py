"""Processes of a workload that killed its own guardian: they come to this program, and end here.

A workload without a sandbox can end its guardian, since both are the same user's. Its daemons then
have this program as their parent. They are known by their session: what we start ourselves is in
ours, or in one that began with :func:`expect`, and no process can enter a session that exists.
"""

from __future__ import annotations

import os
from contextlib import suppress

from fedgate_gateway.child import kernel
from fedgate_gateway.sandbox import family

_SECONDS = 5
_expected: set[int] = set()
_asked = False


def ask() -> None:
    """From now on orphans of our children come to this process. What it has already is its own."""
    global _asked
    if not _asked:
        kernel.adopt_orphans()
        _expected.update(_strangers())
        _asked = True


def expect(pid: int) -> None:
    """A child of ours that leads a session of its own."""
    _expected.add(pid)


def end_all() -> bool:
    """End what came to us; False if something cannot be ended. Forgets children that ended."""
    _expected.intersection_update(family.children(os.getpid()))
    return family.end_all(_ours, _SECONDS)


def _ours() -> set[int]:
    mine = family.children(os.getpid())
    return _expected | (set(mine) - _strangers())


def _strangers() -> set[int]:
    """Children in another session than this program's."""
    session, found = os.getsid(0), set()
    for pid in family.children(os.getpid()):
        with suppress(ProcessLookupError):
            if os.getsid(pid) != session:
                found.add(pid)
    return found
