"""Collecting files that workers left at their sites: each site's by itself, through the gate.

A site is asked once, when all else of a job that succeeded is out. It answers with an archive or
keeps it; whatever becomes of that, the job has succeeded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fedgate.codes import Code
from fedgate.errors import Denied, FedgateError, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.enclave.job_log import JobLog
from fedgate_gateway.enclave.release import ReleaseGate
from fedgate_gateway.enclave.reports import Reports
from fedgate_gateway.enclave.sessions import Sessions
from fedgate_gateway.link import cargo
from fedgate_gateway.link.arrival import Arrivals
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.control import read_files, read_kept, write_control
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.sealed import CargoKey, LetterKind

#: Seconds in which a site ends its worker, decides and packs, and in which its archive comes.
_ANSWER_SECONDS: Final = 120.0
_BRING_SECONDS: Final = 1800.0


class SiteFiles:
    """Of one job. ``arrivals``: of a site's session now."""

    def __init__(
        self,
        job: str,
        *,
        link: LinkClient,
        sessions: Sessions,
        reports: Reports,
        log: JobLog,
        arrivals: Callable[[str], Arrivals],
        recipient: str,
        folder: Path,
    ) -> None:
        """Archives lie in ``folder``, sealed, until they go out one by one."""
        self._job = job
        self._link = link
        self._sessions = sessions
        self._reports = reports
        self._log = log
        self._arrivals = arrivals
        self._recipient = recipient
        self._folder = folder
        self._one_out = asyncio.Lock()
        self._asked: dict[str, asyncio.Future[tuple[CargoKey, bool] | None]] = {}
        self._work: asyncio.Future[list[None]] | None = None
        self._stopped: FedgateError | None = None

    async def collect(self, sites: Sequence[str], gate: ReleaseGate) -> None:
        """Until the files of these sites, which are there, are out or stay; raises what
        :meth:`stop` was told.
        """
        if self._stopped is None:
            loop = asyncio.get_running_loop()
            self._asked.update((site, loop.create_future()) for site in sites)
            self._work = asyncio.gather(*(self._of(site, gate) for site in sites))
            try:
                await self._work
            except asyncio.CancelledError:
                if self._stopped is None:
                    raise
        if self._stopped is not None:
            raise self._stopped

    def stop(self, error: FedgateError) -> None:
        """The job was cancelled: nothing more goes out."""
        self._stopped = error
        if self._work is not None:
            self._work.cancel()

    def lost(self, site: str) -> None:
        """The site is gone, or has begun anew: it will not answer."""
        answer = self._asked.get(site)
        if answer is not None and not answer.done():
            answer.set_exception(Unavailable("the site is gone"))

    def heard(self, site: str, what: str, fields: dict[str, Any]) -> None:
        """A site's answer; raises :class:`Denied` for one that nobody asked for."""
        answer = self._asked.get(site)
        if answer is None:
            notice = Notice(Code.FILES_UNASKED)
            raise Denied("a site sent files that nobody asked it for", notice=notice)
        if answer.done():
            return  # too late, or twice
        if what == "files":
            answer.set_result(read_files(fields))
            return
        why = read_kept(fields)
        if why is not None:
            self._log.tell(why.sentence, site=site)
        answer.set_result(None)

    async def _of(self, site: str, gate: ReleaseGate) -> None:
        session = self._sessions.get(site)
        if session is None:
            return  # it is known to be lost
        answer = self._asked[site]
        session.channel.post(LetterKind.CONTROL, write_control("collect"))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                found = await answer
            if found is None:
                return  # it says why, itself
            key, whole = found
            gate.check_site_files(key.size)
            async with asyncio.timeout(_BRING_SECONDS):
                archive = await self._arrivals(site).bring(key, self._keep)
            await self._release(site, archive, gate)
        except (FedgateError, TimeoutError) as error:
            self._log.tell(f"its files are not released: {error or 'it took too long'}", site=site)
            self._reports.site_files_lost(site, Notice(Code.FILES_LOST))
            return
        self._reports.site_files_released(site, key.size, whole=whole, recipient=self._recipient)

    async def _keep(self, key: CargoKey, _shared: bool) -> KeptCargo:
        kept = KeptCargo(key, self._job, self._folder, model=False)
        try:
            await cargo.keep(self._link, self._job, kept)
        except BaseException:
            kept.close()
            raise
        return kept

    async def _release(self, site: str, kept: KeptCargo, gate: ReleaseGate) -> None:
        try:
            async with self._one_out:
                opened = memoryview(bytearray(kept.size))
                await asyncio.to_thread(kept.read_into, 0, kept.size, opened)
                await gate.site_files(site, opened)
        finally:
            kept.close()
