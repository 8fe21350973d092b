"""A part that the gateway needs and that does not answer: told once, and once more when it does."""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger(__name__)


class Outage:
    """Of ``what``. Thread-safe."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._since: float | None = None

    def begins(self, why: str) -> None:
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        log.warning("%s does not answer: %s (what must be written waits for it)", self._what, why)

    def ends(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("%s answers again, after %.1f s", self._what, time.monotonic() - since)
