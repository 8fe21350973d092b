"""What each site is doing and whose results are here, as far as workflows cannot know it.

A result counts as here once it reached the coordinator, although it is handed over later, in its
turn. A workflow that may go on with some of its sites must not close a task before what is here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class _Share:
    task_id: str
    here: bool = False


class Arrivals:
    """Thread-safe; a site does one task at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shares: dict[str, _Share] = {}

    def sent(self, site: str, task_id: str) -> None:
        with self._lock:
            self._shares[site] = _Share(task_id)

    def came(self, site: str, task_id: str) -> None:
        with self._lock:
            self._shares[site] = _Share(task_id, here=True)

    def settled(self, site: str) -> None:
        """The site's result was handed over, or there is none."""
        with self._lock:
            self._shares.pop(site, None)

    def is_here(self, site: str, task_id: str) -> bool:
        """Did the site answer the task, without the workflow having it yet?"""
        with self._lock:
            return self._shares.get(site) == _Share(task_id, here=True)

    def is_elsewhere(self, site: str, task_id: str) -> bool:
        """Is the site still busy with another task than ``task_id`` (empty: one it never got)?

        One whose result is here is about to come for the next.
        """
        with self._lock:
            share = self._shares.get(site)
            return share is not None and not share.here and share.task_id != task_id
