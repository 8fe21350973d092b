"""Watching a job while its gateway is away: for how long, and what its watcher reads meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

Say = Callable[[str], None]
#: Longer than a gateway takes to restart.
_SECONDS = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0
#: Failures in a row after which it is told: a connection may break for any reason.
_TOLD_AT = 2


class Patience:
    """Of one stream; ``say`` hears of an outage once, and once of its end."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._failures = 0
        self._since = 0.0

    def answers(self) -> None:
        if self._failures >= _TOLD_AT:
            self._say("the gateway answers again")
        self._failures = 0

    def fails(self) -> bool:
        """May it be asked again?"""
        if not self._failures:
            self._since = time.monotonic()
        self._failures += 1
        if time.monotonic() - self._since > _SECONDS:
            return False
        if self._failures == _TOLD_AT:
            self._say("the gateway does not answer; the job goes on, and is watched again then")
        return True

    def rest(self) -> None:
        time.sleep(min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE))
