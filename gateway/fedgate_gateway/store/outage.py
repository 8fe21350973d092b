"""A part that the gateway needs and that does not answer: told once, and once more when it does."""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger(__name__)


class Outage:
    """Of ``what``; ``meanwhile`` says what happens until it answers. Thread-safe."""

    def __init__(self, what: str, meanwhile: str) -> None:
        self._what, self._meanwhile = what, meanwhile
        self._lock = threading.Lock()
        self._since: float | None = None

    @property
    def lasts(self) -> bool:
        return self._since is not None

    def begins(self, why: str) -> None:
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        log.warning("%s does not answer: %s (%s)", self._what, why, self._meanwhile)

    def ends(self) -> None:
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            log.warning("%s answers again, after %.1f s", self._what, time.monotonic() - since)
