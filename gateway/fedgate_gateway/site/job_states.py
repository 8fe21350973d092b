"""What workers keep from task to task: a folder for each job, until it has ended everywhere.

An agent that was killed leaves such folders: it may come back to the same job, and then they are
needed. Of a job whose end it never heard of nobody would remove them.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

_DAY = 86400.0
#: Seconds between two looks. None comes at once: a job under way is joined again within moments.
_LOOK = 3600.0


class JobStates:
    """All of a site; ``days``: how long one is kept that no job uses."""

    def __init__(self, data: Path, days: float, clock: Callable[[], float] = time.time) -> None:
        self._root = data / "state"
        self._days = days
        self._clock = clock

    def forget_old(self, in_use: Collection[str]) -> None:
        """Remove what nothing was written to for so long, except for jobs ``in_use``."""
        before = self._clock() - self._days * _DAY
        for folder in self._root.glob("*"):
            if folder.name not in in_use and _written(folder) < before:
                shutil.rmtree(folder, ignore_errors=True)

    async def expire(self, in_use: Collection[str]) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            await asyncio.to_thread(self.forget_old, tuple(in_use))


def _written(folder: Path) -> float:
    """When anything below it was changed last. Links are not followed."""
    times = [folder.lstat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.lstat().st_mtime)
        except OSError:  # it went meanwhile
            continue
    return max(times)
