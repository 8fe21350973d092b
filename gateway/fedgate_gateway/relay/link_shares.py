"""What a peer may say over its link in a time."""

from __future__ import annotations

import asyncio

from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.shares import Rate, Share

_BURST_SECONDS = 10.0
_KIB = 1024


class LinkShares:
    """A site that says too much is read more slowly; it holds up nobody but itself."""

    def __init__(self, limits: GatewayLimits) -> None:
        letters = Share(int(limits.letters_per_second * _BURST_SECONDS), "letters_per_second")
        self._letters = Rate("letters", letters, _BURST_SECONDS)
        handshakes = Share(limits.handshakes_per_minute, "handshakes_per_minute")
        self._handshakes = Rate("handshakes of a site in a job", handshakes, 60.0)
        reports = Share(limits.reports_kib_per_minute, "reports_kib_per_minute")
        self._entries = Rate("KiB of entries of a peer about a job", reports, 60.0)
        self._events = Rate("KiB of events of a job", reports, 60.0)

    async def message(self, site: str) -> None:
        """Waits until one more message of a site is due."""
        await _due(self._letters, site)

    def handshake(self, job: str, site: str) -> None:
        """Each costs an enclave evidence and keys. Raises :class:`LimitReached`."""
        self._handshakes.spend(f"{job}/{site}")

    async def entry(self, job: str, peer: str, size: int) -> None:
        """Waits until another entry of a peer for the log is due."""
        await _due(self._entries, f"{job}/{peer}", 1 + size // _KIB)

    def event(self, job: str, size: int) -> None:
        """Raises :class:`LimitReached`."""
        self._events.spend(job, 1 + size // _KIB)


async def _due(rate: Rate, holder: str, amount: int = 1) -> None:
    while True:
        wait = rate.wait(holder, amount)
        if wait <= 0:
            return
        await asyncio.sleep(wait)
