"""What a running job does when fewer sites are left than it needs: it stops, or waits for some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fedgate_gateway.config import Release


class Quorum:
    """Of one job, by its project's rule."""

    def __init__(self, rules: Release, least: int, on_missed: Callable[[], None]) -> None:
        """``on_missed`` is called, once, when the job has to stop."""
        self.least = least
        self.waits = rules.below_cohort == "wait"
        self.seconds = rules.cohort_wait_seconds
        self._on_missed = on_missed
        self._timer: asyncio.TimerHandle | None = None

    def now(self, left: int) -> bool:
        """``left`` sites remain; True if the job waits for others to come back."""
        if left >= self.least:
            self.close()
            return False
        if not self.waits:
            self._on_missed()
            return False
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self.seconds, self._on_missed)
        return True

    def needs(self, site: str, left: Sequence[str]) -> bool:
        """Would the job wait for this site if it went?"""
        return self.waits and len([s for s in left if s != site]) < self.least

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
