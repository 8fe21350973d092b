"""Results reach a workflow in the order of the roster, whichever site is first.

Float sums depend on the order of their terms, and FLARE adds results as they come. A result of a
broadcast therefore waits until the sites before it have answered, failed or been lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fedgate_flare import standing
from fedgate_flare.wake import Bell
from fedgate_flare.window import Window

#: A result is handed over this long before the workflow's own timeout, rather than be lost to it.
_MARGIN = 0.5
_CHECK = 0.5


class RosterOrder:
    def __init__(
        self, roster: Mapping[str, int], bell: Bell, window: Window, over: Callable[[], bool]
    ) -> None:
        self._roster = roster
        self._bell = bell
        self._window = window
        self._over = over

    def wait(self, communicator: Any, site: str, task_id: str) -> None:
        """Return when it is ``site``'s turn to hand over its result of the task."""
        while not self._over():
            seen = self._bell.rings
            left = self._seconds_to_wait(communicator, site, task_id)
            if left <= 0:
                return
            self._bell.wait(seen, min(left, _CHECK))

    def _seconds_to_wait(self, communicator: Any, site: str, task_id: str) -> float:
        with standing.client_task(communicator, task_id) as share:
            task = None if share is None else share.task
            if task is None or task.completion_status is not None:
                return 0
            if not standing.is_broadcast(task):
                return 0
            mine = self._roster[site]
            before = {t for t in task.targets if self._roster.get(t, mine) < mine}
            here = before & self._window.here(task)
            missing = (before & self._window.missing(task)) - here
            wait = standing.seconds_left(task) - _MARGIN
            if here:
                return wait
            return min(wait, self._window.seconds_left(task)) if missing else 0
