"""A bound on waiting for sites: Flower's samplers wait for ever when there are too few nodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from fedgate.errors import DeadlineExceeded, InvalidConfig
from fedgate.job import SERIES
from fedgate.task import Scalar

#: Settings of a job that are ours and not the app's start with this.
PREFIX = "fedgate."
NODE_WAIT = f"{PREFIX}node-wait-seconds"
#: What a submitter may set besides the app's own settings, with its default.
SETTINGS: Mapping[str, Scalar] = {NODE_WAIT: 120.0, SERIES: ""}
#: Polls further apart than this belong to a program that does something else in between.
_GAP_SECONDS = 10.0


def node_wait_seconds(config: Mapping[str, Scalar]) -> float:
    """How long an app may wait for more nodes, from the job's configuration."""
    value = {**SETTINGS, **config}[NODE_WAIT]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InvalidConfig(f"{NODE_WAIT} must be a number of seconds", why=f"got {value!r}")
    return float(value)


class NodeWait:
    """Notices an app that does nothing but ask which nodes there are, for too long.

    ``fail`` gets the error; it is raised in the asking thread as well, which ends most apps.
    Thread-safe; only the app's own thread counts, because the legacy client manager asks from a
    thread of its own while the app is busy.
    """

    def __init__(
        self,
        seconds: float,
        fail: Callable[[DeadlineExceeded], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._fail = fail
        self._clock = clock
        self._app: threading.Thread | None = None
        self._since: float | None = None
        self._last = 0.0

    def watch_this_thread(self) -> None:
        self._app = threading.current_thread()

    def polled(self, present: int) -> None:
        """The app asked for its nodes; raises :class:`DeadlineExceeded` after too many times."""
        if threading.current_thread() is not self._app:
            return
        now = self._clock()
        if self._since is None or now - self._last > _GAP_SECONDS:
            self._since = now
        self._last = now
        if now - self._since > self._seconds:
            self.give_up(None, present)

    def progressed(self) -> None:
        """The app sent something, so it does not wait for nodes."""
        self._since = None

    def give_up(self, wanted: int | None, present: int) -> None:
        needs = "more" if wanted is None else str(wanted)
        error = DeadlineExceeded(
            f"the app waited {self._seconds:g} s for {needs} nodes",
            why=f"{present} of the job's sites are online",
            remedy=f"submit to more sites, lower the app's minimum, or raise {NODE_WAIT}",
        )
        self._fail(error)
        raise error
