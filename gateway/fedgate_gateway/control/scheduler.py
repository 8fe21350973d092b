"""Moving jobs forward: from what is in the database and who is connected, again and again.

Level-triggered: :meth:`Scheduler.reconcile` looks at every job that is not final and does what is
missing, so it does not matter which message was lost or which process died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedgate.codes import Code
from fedgate.errors import FedgateError, InvalidTransition, LimitReached, NotFound
from fedgate.job import JobEvent, JobState
from fedgate.notice import Notice, read_notice
from fedgate_gateway.control.availability import REVIEW_SECONDS
from fedgate_gateway.control.fair_order import FairOrder
from fedgate_gateway.control.faults import Faults
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.records import (
    WAITING_EVENT,
    BundleRecord,
    Decision,
    JobRecord,
    JobSite,
)
from fedgate_gateway.control.review import may_go_on, refusal
from fedgate_gateway.control.site_room import SiteRoom
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.control.transitions import MAX_REASON
from fedgate_gateway.governance import read_unverified
from fedgate_gateway.link import facts
from fedgate_gateway.link.review_answer import ReviewAnswer
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.router import Route, Router
from fedgate_gateway.relay.spool import CargoSpool
from fedgate_gateway.store.database import DatabaseAway
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
_EVERY = 1.0
_ACTIVE = (JobState.STARTING, JobState.RUNNING)
_PENDING = (JobState.SUBMITTED, JobState.IN_REVIEW, JobState.QUEUED)


class Scheduler:
    """Runs on the event loop; every write goes through the ledger, in order."""

    def __init__(
        self,
        state: GatewayState,
        ledger: Ledger,
        connections: Connections,
        router: Router,
        spool: CargoSpool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._state = state
        self._ledger = ledger
        self._connections = connections
        self._router = router
        self._spool = spool
        self._offered: dict[tuple[str, str], int] = {}  # (job, site) -> connection it was sent on
        self._joined: dict[tuple[str, str], int] = {}
        self._assigned: dict[str, int] = {}
        self._refused: dict[str, set[str]] = {}
        self._room = SiteRoom(connections, router)
        self._waiting: dict[str, str] = {}  # queued job -> what it was said to wait for
        self._starting: dict[str, float] = {}  # job -> since when it starts
        self._absent: dict[str, float] = {}  # job -> since when its enclave is gone
        self._missing: dict[tuple[str, str], float] = {}  # (job, site) likewise; inf: it was told
        self._faults = Faults()
        self._order = FairOrder()
        self._wake = asyncio.Event()

    def nudge(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Reconcile whenever something changed, and every second in any case."""
        with self._state.jobs.state_changes() as changed:
            while True:
                changed.clear()
                self._wake.clear()
                try:
                    await self.reconcile()
                except DatabaseAway:  # it says so itself
                    pass
                except Exception:
                    log.exception("reconciling failed; trying again")
                waits = [asyncio.ensure_future(e.wait()) for e in (changed, self._wake)]
                _, pending = await asyncio.wait(
                    waits, timeout=_EVERY, return_when=asyncio.FIRST_COMPLETED
                )
                for wait in pending:
                    wait.cancel()

    async def reconcile(self) -> None:
        jobs = self._state.jobs
        await self._ledger.do(jobs.expire_due)
        active = await self._ledger.do(lambda: jobs.in_states(*_PENDING, *_ACTIVE))
        alive = {job.id for job in active}
        self._faults.keep(alive)
        for job_id in [j for j in self._router.routes if j not in alive]:
            try:
                await self._announce_end(job_id)
            except DatabaseAway:
                raise
            except Exception:  # of this job: it is tried again, and the others have ended too
                log.exception("job %s: its end could not be announced", job_id)
        queued = [job for job in active if job.state is JobState.QUEUED]
        under_way = [job for job in active if job.state in _ACTIVE]
        others = [job for job in active if job.state is not JobState.QUEUED]
        for job in [*others, *self._order.of(queued, under_way)]:
            await self._move_on(job)
        for offered in [k for k in self._offered if k[0] not in alive]:
            del self._offered[offered]
        for book in (
            self._refused, self._starting, self._absent, self._assigned, self._waiting,
        ):  # fmt: skip
            for job_id in [j for j in book if j not in alive]:
                del book[job_id]

    async def _move_on(self, job: JobRecord) -> None:
        """One job that cannot be moved on stops no other, and is not tried for ever."""
        try:
            sites = await asyncio.to_thread(self._state.jobs.job_sites, job.id)
            await self._advance(job, sites)
            self._faults.clear(job.id)
        except InvalidTransition as error:  # somebody else was faster; look again next time
            log.info("job %s: %s", job.id, error)
        except DatabaseAway:  # no fault of the job
            raise
        except Exception as error:
            log.exception("job %s: it could not be moved on", job.id)
            if self._faults.add(job.id):
                await self._give_up(job.id, error)

    async def _give_up(self, job_id: str, error: Exception) -> None:
        what = error.what if isinstance(error, FedgateError) else type(error).__name__
        reason = f"the gateway cannot move it on: {what}; its log says more"
        try:
            await self.fail(job_id, reason)
        except Exception:
            log.exception("job %s: it could not be given up either", job_id)

    async def _advance(self, job: JobRecord, sites: Sequence[JobSite]) -> None:
        match job.state:
            case JobState.IN_REVIEW:
                await self._review(job, sites)
            case JobState.QUEUED:
                await self._assign(job, sites)
            case JobState.STARTING | JobState.RUNNING:
                await self._keep(job, sites)

    # -- review --------------------------------------------------------------------------------

    async def _review(self, job: JobRecord, sites: Sequence[JobSite]) -> None:
        accepted = [s for s in sites if s.decision is Decision.ACCEPTED]
        pending = [s for s in sites if s.decision is Decision.PENDING]
        bundle = await asyncio.to_thread(self._state.jobs.bundle, job.bundle)
        mandatory = bundle.manifest.mandatory
        if reason := refusal(sites, mandatory=mandatory, min_sites=job.min_sites):
            await self._transition(job.id, JobEvent.DENY, reason=reason)
            return
        waited = self._waited(job)
        if may_go_on(sites, mandatory=mandatory, min_sites=job.min_sites, waited=waited):
            await self._transition(
                job.id, JobEvent.ACCEPT,
                data={"sites": [s.site for s in accepted]},
                absent={s.site: self._why_silent(s.site) for s in pending},
            )  # fmt: skip
            self.nudge()
            return
        request = await asyncio.to_thread(self._state.jobs.request, job.id)
        for site in pending:
            connection = self._connections.site(site.site)
            if connection and self._offered.get((job.id, site.site)) != connection.serial:
                self._offered[(job.id, site.site)] = connection.serial
                spec = job_spec(job, bundle, [s.site for s in sites], request)
                connection.send(pb.GatewayMessage(offer=spec))

    def _why_silent(self, site: str) -> Code:
        return Code.NO_ANSWER if self._connections.site(site) else Code.SITE_OFFLINE

    @staticmethod
    def _waited(job: JobRecord) -> bool:
        return job.created is not None and time.time() - job.created.timestamp() > REVIEW_SECONDS

    async def offer_reply(self, site: str, reply: pb.OfferReply) -> None:
        answer = ReviewAnswer.read(reply)
        decision = Decision.ACCEPTED if answer.notice is None else Decision.DENIED
        await self._ledger.do(
            lambda: self._state.jobs.set_site_decision(reply.job, site, decision, answer.sentence)
        )
        self.nudge()

    def may_fetch(self, connection: Connection, job: JobRecord, sites: Sequence[str]) -> bool:
        """Is this job's bundle offered or assigned to the caller?"""
        if connection.kind is PeerKind.ENCLAVE:
            return job.enclave == connection.name and job.state in _ACTIVE
        return connection.name in sites and job.state in (*_PENDING, *_ACTIVE)

    # -- start ---------------------------------------------------------------------------------

    async def _assign(self, job: JobRecord, sites: Sequence[JobSite]) -> None:
        refused = self._refused.setdefault(job.id, set())
        wanted = await asyncio.to_thread(self._wanted_enclave, job.id)
        able = [
            c
            for c in self._connections.enclaves()
            if c.name not in refused
            and wanted in ("", c.name)
            and job.framework in {f.name for f in c.hello.frameworks}
        ]
        if not able:
            asked = {wanted} if wanted else {c.name for c in self._connections.enclaves()}
            if refused and refused >= asked:
                await self._transition(
                    job.id, JobEvent.FAIL, reason=f"every enclave refused it: {job.reason}"
                )
            return
        load = {
            c.name: sum(r.enclave == c.name for r in self._router.routes.values()) for c in able
        }
        enclave = min(able, key=lambda c: (load[c.name], c.name))
        if load[enclave.name] >= enclave.hello.max_jobs:
            return
        taking = [s.site for s in sites if s.decision is Decision.ACCEPTED]
        bundle = await asyncio.to_thread(self._state.jobs.bundle, job.bundle)
        wants = {site: bundle.manifest.resources_of(site) for site in taking}
        waits = [why for site in taking if (why := self._room.waits_for(site, wants[site]))]
        if waits:
            await self._say_waiting(job.id, "; ".join(waits))
            return
        self._router.routes[job.id] = Route(
            job.id, enclave.name, frozenset(taking), job.project, wants
        )
        assigned = await self._transition(job.id, JobEvent.ASSIGN, enclave=enclave.name)
        if assigned is not None:
            self._order.started(assigned)
            await self._keep(assigned, sites)

    def _wanted_enclave(self, job: str) -> str:
        """As the submitter signed; empty: any that takes it. Sites and enclaves check it."""
        request = self._state.jobs.request(job)
        return read_unverified(request).request.enclave if request else ""

    async def _say_waiting(self, job: str, why: str) -> None:
        """Once: whoever watches a job reads what it waits for."""
        if job not in self._waiting:
            told = {"reason": why[:MAX_REASON]}
            with contextlib.suppress(LimitReached):
                await self._ledger.do(lambda: self._state.jobs.record(job, WAITING_EVENT, told))
            self._waiting[job] = why

    async def _keep(self, job: JobRecord, sites: Sequence[JobSite]) -> None:
        """Bring a job that is under way to everybody who is part of it, and notice who is gone."""
        taking = [s.site for s in sites if s.decision is Decision.ACCEPTED]
        bundle = await asyncio.to_thread(self._state.jobs.bundle, job.bundle)
        asked = {site: bundle.manifest.resources_of(site) for site in taking}
        route = self._router.routes.setdefault(
            job.id, Route(job.id, job.enclave, frozenset(taking), job.project, asked)
        )
        enclave = self._connections.enclave(job.enclave)
        if enclave is None:
            since = self._absent.setdefault(job.id, self._clock())
            if self._clock() - since > self._state.config.limits.offline_seconds:
                await self._enclave_gone(job, "its enclave lost its connection")
            return
        self._absent.pop(job.id, None)
        if self._starts_for_too_long(job):
            seconds = self._state.config.limits.starting_seconds
            await self.fail(job.id, f"its enclave did not start it within {seconds:g} s")
            return
        request = await asyncio.to_thread(self._state.jobs.request, job.id)
        spec = job_spec(job, bundle, taking, request)
        if self._assigned.get(job.id) != enclave.serial:
            if job.id not in self._assigned and job.state is JobState.STARTING:
                enclave.send(pb.GatewayMessage(assign=spec))
            elif job.id not in enclave.hello.jobs:
                await self._enclave_gone(job, "its enclave was restarted")
                return
            self._assigned[job.id] = enclave.serial
            self._enclave_is_back(route)
        for name in taking:
            site = self._connections.site(name)
            if site is None:
                self._site_missing(enclave, job.id, name)
                continue
            self._missing.pop((job.id, name), None)
            if self._joined.get((job.id, name)) == site.serial:
                continue
            self._joined[(job.id, name)] = site.serial
            site.send(pb.GatewayMessage(join=spec))  # who is in it already knows
            state = pb.PeerState(job=job.id, site=name, online=True)
            enclave.send(pb.GatewayMessage(peer=state))

    def _starts_for_too_long(self, job: JobRecord) -> bool:
        """An enclave has a limit of its own for this; here is one for an enclave that has none."""
        if job.state is not JobState.STARTING:
            self._starting.pop(job.id, None)
            return False
        since = self._starting.setdefault(job.id, self._clock())
        return self._clock() - since > self._state.config.limits.starting_seconds

    def _enclave_is_back(self, route: Route) -> None:
        """Sessions may have outlived its connection; what it was told before may be lost."""
        up = pb.PeerState(job=route.job, online=True)
        self._router.to_sites(route, pb.GatewayMessage(peer=up))
        for name in route.sites:
            self._missing.pop((route.job, name), None)

    def _site_missing(self, enclave: Connection, job: str, site: str) -> None:
        """Whoever did not come back after a restart of gateway or enclave left unnoticed."""
        now = self._clock()
        since = self._missing.setdefault((job, site), now)
        if now - since > self._state.config.limits.offline_seconds:
            self._missing[(job, site)] = math.inf
            gone = pb.PeerState(job=job, site=site, online=False)
            enclave.send(pb.GatewayMessage(peer=gone))

    async def _enclave_gone(self, job: JobRecord, why: str) -> None:
        self._absent.pop(job.id, None)
        self._assigned.pop(job.id, None)
        starting = job.state is JobState.STARTING
        event = JobEvent.REQUEUE if starting else JobEvent.FAIL
        await self._transition(job.id, event, reason=why)
        # Only now: who connects from here on hears of the end as it does.
        route = self._router.routes.pop(job.id, None)
        if route is not None:
            self._end_at_peers(route, "the enclave is gone")

    # -- what peers say --------------------------------------------------------------------------

    async def report(self, enclave: Connection, report: pb.JobReport) -> None:
        what = report.WhichOneof("what")
        route = self._router.route(report.job, enclave)
        if what == "finished":
            await self._finished(enclave, report)
        elif route is None:
            return
        elif what == "started":
            told = {"evidence": _name(report.started)}
            data = told | {"clear": facts.told_clear(report.clear)}
            await self._transition(report.job, JobEvent.START, data=data)
        elif what == "refused":
            self._refused.setdefault(report.job, set()).add(enclave.name)
            reason = _said(report.refused).sentence
            self._router.routes.pop(report.job, None)
            await self._transition(report.job, JobEvent.REQUEUE, reason=reason)
            # Only now: who connects from here on hears of it as it does.
            self._end_at_peers(route, "the enclave refused the job")
            self.nudge()

    async def _finished(self, enclave: Connection, report: pb.JobReport) -> None:
        """Idempotent: an enclave says it again after each reconnect until it is taken."""
        job = await asyncio.to_thread(self._state.jobs.get, report.job)
        if job.enclave != enclave.name:
            return
        finished = report.finished
        if not job.state.final:
            if finished.succeeded and job.state is JobState.STARTING:
                await self._transition(job.id, JobEvent.START)
            event = JobEvent.SUCCEED if finished.succeeded else JobEvent.FAIL
            traffic = self._router.traffic.get(report.job)
            notice = None if finished.succeeded else _said(finished.notice)
            reason, data = "", {}
            if notice is not None:
                reason, data = notice.sentence, {"code": str(notice.code)}
            if traffic is not None:
                data |= {"sealed_bytes": str(traffic.to_sites + traffic.to_enclave)}
            await self._transition(job.id, event, reason=reason, data=data)
        over = pb.JobOver(job=report.job, state=job.state, reason=job.reason)
        enclave.send(pb.GatewayMessage(over=over))
        self.nudge()

    async def fail(self, job_id: str, reason: str, code: Code | None = None) -> None:
        """End a job that cannot go on, for a reason that does not lie with its peers' reports."""
        data = {} if code is None else {"code": str(code)}
        await self._transition(job_id, JobEvent.FAIL, reason=reason, data=data)
        self.nudge()

    async def log_failed(self, job_id: str) -> None:
        """An entry about this job cannot be written: it does not go on as if there was none."""
        await self.fail(job_id, Notice(Code.LOG_FAILED).sentence, Code.LOG_FAILED)

    # -- the end -----------------------------------------------------------------------------

    async def _announce_end(self, job_id: str) -> None:
        job = await asyncio.to_thread(self._state.jobs.get, job_id)
        route = self._router.routes.pop(job_id, None)
        if route is not None:
            self._end_at_peers(route, job.reason or str(job.state), state=str(job.state))
        await asyncio.to_thread(self._state.audit.checkpoint)

    def _end_at_peers(self, route: Route, reason: str, *, state: str = "") -> None:
        """Of a route that is taken back already; a later one of the same job is not touched."""
        job_id = route.job
        over = pb.GatewayMessage(over=pb.JobOver(job=job_id, state=state, reason=reason))
        self._router.to_sites(route, over)
        enclave = self._connections.enclave(route.enclave)
        if enclave is not None:
            enclave.send(over)
        self._spool.forget_job(job_id)
        self._router.traffic.pop(job_id, None)
        self._assigned.pop(job_id, None)
        self._starting.pop(job_id, None)
        for book in (self._joined, self._missing):
            for key in [k for k in book if k[0] == job_id]:
                del book[key]

    # -- peers come and go -----------------------------------------------------------------------

    async def connected(self, connection: Connection) -> None:
        """A peer may hold jobs that ended, or were taken back, while it was away.

        Raises :class:`DatabaseAway` when nobody can tell.
        """
        for job_id in connection.hello.jobs:
            try:
                job = await asyncio.to_thread(self._state.jobs.get, job_id)
            except NotFound:
                continue
            another = connection.kind is PeerKind.ENCLAVE and job.enclave != connection.name
            if job.state not in _ACTIVE or another:
                over = pb.JobOver(job=job_id, state=str(job.state), reason=job.reason)
                connection.send(pb.GatewayMessage(over=over))
        self.nudge()

    def disconnected(self, connection: Connection) -> None:
        if connection.kind is PeerKind.SITE:
            for route in self._router.routes.values():
                enclave = self._connections.enclave(route.enclave)
                if connection.name in route.sites and enclave is not None:
                    state = pb.PeerState(job=route.job, site=connection.name, online=False)
                    enclave.send(pb.GatewayMessage(peer=state))
        self.nudge()

    async def _transition(
        self,
        job_id: str,
        event: JobEvent,
        *,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        enclave: str | None = None,
        absent: Mapping[str, Code] | None = None,
    ) -> JobRecord | None:
        """None where it was not possible any more: a cancelled job hears late news."""
        jobs = self._state.jobs
        try:
            return await self._ledger.do(
                lambda: jobs.transition(
                    job_id,
                    event,
                    reason=reason,
                    data=dict(data or {}),
                    enclave=enclave,
                    absent=absent or {},
                )
            )
        except InvalidTransition as error:
            log.info("job %s: %s", job_id, error)
            return None


def _said(text: str) -> Notice:
    """An enclave's reason; whatever is none counts as a failure without one."""
    try:
        return read_notice(text)
    except ValueError:
        return Notice(Code.INTERNAL)


def _name(text: str) -> str:
    return text if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", text) else ""


def job_spec(
    job: JobRecord, bundle: BundleRecord, sites: Sequence[str], request: bytes
) -> pb.JobSpec:
    return pb.JobSpec(
        job=job.id,
        project=job.project,
        name=job.name,
        bundle=job.bundle,
        bundle_bytes=bundle.size,
        framework=job.framework,
        manifest=json.dumps(bundle.manifest.to_dict()),
        submitter=job.submitter,
        sites=list(sites),
        datasets=list(job.datasets),
        min_sites=min(job.min_sites, len(sites)),
        config=json.dumps(dict(job.config)),
        recipient=job.recipient or b"",
        task_seconds=job.task_seconds or 0.0,
        enclave=job.enclave,
        request=request,
    )
