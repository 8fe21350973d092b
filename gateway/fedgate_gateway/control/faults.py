"""Jobs that nothing can be done with, for a reason that lies with us: they do not wait for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

#: Seconds in which every attempt to move a job on has failed, after which it is given up.
GIVE_UP_SECONDS = 60.0


class Faults:
    """Since when each job fails to move on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def add(self, job: str) -> bool:
        """Another failure; True once it has failed for so long that the job is to be given up."""
        now = self._clock()
        return now - self._since.setdefault(job, now) >= GIVE_UP_SECONDS

    def clear(self, job: str) -> None:
        self._since.pop(job, None)

    def keep(self, jobs: Iterable[str]) -> None:
        """Forget all others: they have ended."""
        alive = set(jobs)
        self._since = {job: since for job, since in self._since.items() if job in alive}
