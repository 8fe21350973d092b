"""Which sites of a job are ready, which are lost and why, and who is away for a moment only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fedgate.codes import Code
from fedgate.errors import DeadlineExceeded, FedgateError, Unavailable
from fedgate.notice import Notice, public

#: Sites that one notice names.
_MOST_TOLD = 100


class Attendance:
    """Of one job. A site is neither ready nor lost until it says or shows which.

    ``on_ready`` and ``on_lost`` hear of each change, once.
    """

    def __init__(
        self,
        sites: Sequence[str],
        *,
        grace_seconds: float,
        ready_seconds: float,
        on_ready: Callable[[str], None],
        on_lost: Callable[[str, FedgateError], None],
    ) -> None:
        """``grace_seconds``: how long a site's link may be down before the site counts as lost.
        ``ready_seconds``: how long one that comes back in a running job may take to get ready.
        """
        self.sites = tuple(sites)
        self.ready: set[str] = set()
        self.lost: dict[str, FedgateError] = {}
        self._unready: set[str] = set()  # not lost, and not there when the job began
        self.changed = asyncio.Event()
        self._grace_seconds = grace_seconds
        self._ready_seconds = ready_seconds
        self._begun = False
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._grace: dict[str, asyncio.TimerHandle] = {}
        self._absent: dict[str, bool] = {}  # sites lost for their absence -> were they ready

    @property
    def left(self) -> list[str]:
        """Sites that take part, or still can."""
        return [site for site in self.sites if site not in self.lost]

    def losses(self) -> Mapping[str, Code]:
        """Lost sites with what may be said of why; of very many, the first."""
        told = {s: public(self.lost[s]).code for s in self.sites if s in self.lost}
        told = {**dict.fromkeys(sorted(self._unready - told.keys()), Code.NOT_JOINED), **told}
        return dict(list(told.items())[:_MOST_TOLD])

    def explain(self, notice: Notice) -> Notice:
        """A notice of how the job ended, with the sites that were lost before."""
        return notice if notice.sites else replace(notice, sites=self.losses())

    def begin(self) -> list[str]:
        """The job runs without these, which can come still; from now on who comes back is waited
        for only so long.
        """
        self._begun = True
        self._unready = set(self.left) - self.ready
        return sorted(self._unready)

    def joins(self, site: str) -> None:
        """It has a new session: what was before does not count."""
        self.lost.pop(site, None)
        self._absent.pop(site, None)
        self._stop_grace(site)
        self.restarts(site)

    def restarts(self, site: str) -> None:
        """It is getting ready once more. Ignored of a lost site."""
        if site in self.lost:
            return
        self.ready.discard(site)
        self._stop(self._due, site)
        if self._begun:
            self._due[site] = asyncio.get_running_loop().call_later(
                self._ready_seconds, self._late, site
            )
        self.changed.set()

    def _late(self, site: str) -> None:
        why = f"{self._ready_seconds:g} s, start_seconds of the enclave"
        self.lose(
            site,
            DeadlineExceeded(
                "it did not get ready in time",
                why=why,
                notice=Notice(Code.NOT_READY, {"seconds": self._ready_seconds}),
            ),
        )

    def resumes(self, site: str) -> None:
        """Its session outlived its absence: it is again what it was."""
        was_ready = self._absent.pop(site, None)
        if was_ready is not None:
            self.lost.pop(site, None)
            if was_ready:
                self.is_ready(site)

    def is_ready(self, site: str) -> None:
        """Ignored of a lost site: only :meth:`joins` or :meth:`resumes` bring one back."""
        if site in self.lost or site in self.ready:
            return
        self._stop(self._due, site)
        self.ready.add(site)
        self._unready.discard(site)
        self._on_ready(site)
        self.changed.set()

    def lose(self, site: str, error: FedgateError) -> None:
        self._stop_grace(site)
        self._stop(self._due, site)
        if site in self.lost:
            return
        self.lost[site] = error
        self.ready.discard(site)
        self.changed.set()
        self._on_lost(site, error)

    def online(self, site: str, online: bool) -> None:
        """What the gateway says of a site's link; its session may outlive a short absence."""
        if online:
            self._stop_grace(site)
        elif site in self.sites and site not in self._grace and site not in self.lost:
            self._grace[site] = asyncio.get_running_loop().call_later(
                self._grace_seconds, self._missing, site
            )

    def _missing(self, site: str) -> None:
        self._absent[site] = site in self.ready
        self.lose(site, Unavailable("it lost its connection", notice=Notice(Code.LINK_LOST)))

    def _stop_grace(self, site: str) -> None:
        self._stop(self._grace, site)

    @staticmethod
    def _stop(timers: dict[str, asyncio.TimerHandle], site: str) -> None:
        timer = timers.pop(site, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in (*self._grace.values(), *self._due.values()):
            timer.cancel()
