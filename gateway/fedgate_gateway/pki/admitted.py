"""Whom the register confirmed lately: what carries a job goes on while the database is away.

A gateway alone writes to its database, so nobody's certificate stops to count without it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedgate_gateway.pki.peers import Peer

#: Seconds that a confirmation counts for: longer than databases restart.
_COUNTS_SECONDS = 600.0


class Admitted:
    """By the fingerprint of their certificates. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._peers: dict[str, tuple[Peer, float]] = {}
        self._forgotten = 0

    @property
    def moment(self) -> int:
        """Taken before the register is read: what is revoked meanwhile is not remembered."""
        return self._forgotten

    def remember(self, peer: Peer, moment: int) -> None:
        with self._lock:
            if moment == self._forgotten:
                self._peers[peer.fingerprint] = peer, time.monotonic()

    def forget(self) -> None:
        """Everybody: something was revoked, or may have been."""
        with self._lock:
            self._forgotten += 1
            self._peers.clear()

    def find(self, fingerprint: str) -> Peer | None:
        with self._lock:
            peer, since = self._peers.get(fingerprint, (None, 0.0))
        return peer if time.monotonic() - since < _COUNTS_SECONDS else None
