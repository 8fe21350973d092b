"""Jobs: the only place where one is made, changes its state, or gets an event.

Every change is one transaction that holds the new state, the event that people see, and the entry
in the audit log, so that none is ever there without the others. All methods that are not ``async``
are quick and thread-safe; they may be called on the event loop or in a worker thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fedgate.codes import Code
from fedgate.errors import Conflict, InvalidTransition, NotFound
from fedgate.job import JobEvent, JobState
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control import rows
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.bell import ANY
from fedgate_gateway.control.cursor import decode_cursor, encode_cursor
from fedgate_gateway.control.events import JobEvents
from fedgate_gateway.control.guard_needs import SiteGuard
from fedgate_gateway.control.intake import Intake
from fedgate_gateway.control.outputs import JobOutputs, output_key
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.records import (
    SITE_EVENT,
    SITE_STATE_EVENT,
    STATE_EVENT,
    BundleRecord,
    Decision,
    EventRecord,
    JobFilter,
    JobPage,
    JobRecord,
    JobSite,
    Output,
    OutputKind,
    SubmitOptions,
)
from fedgate_gateway.control.site_states import set_state
from fedgate_gateway.control.submission import SubmitPolicy
from fedgate_gateway.control.transitions import MAX_REASON, add_event, advance
from fedgate_gateway.inspection import Inspects
from fedgate_gateway.store import Database, Objects, StoredObject
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import BundleRow, JobRow, JobSiteRow, RequestRow

MAX_PAGE = 500
_WAITING = (JobState.SUBMITTED, JobState.IN_REVIEW, JobState.QUEUED)


class JobService:
    """The gateway's jobs."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        *,
        audit: AuditSink,
        policy: SubmitPolicy,
        projects: Mapping[str, GatewayProject],
        inspector: Inspects,
        limits: GatewayLimits | None = None,
        site_guard: SiteGuard = lambda _site: None,
        own_key: bytes = b"",
    ) -> None:
        """``own_key`` is the raw public key with which this gateway signs for its doors."""
        self._database = database
        self._objects = objects
        self._audit = audit
        self._limits = limits or GatewayLimits()
        self._events = JobEvents(database, self._limits.events_job)
        self._outputs = JobOutputs(database, audit)
        self._intake = Intake(
            database,
            objects,
            audit,
            policy,
            projects,
            self._limits,
            inspector,
            site_guard,
            own_key,
        )

    async def submit(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> JobRecord:
        """Check a submission completely, then store it as a job in review.

        Nothing is stored unless every check passed. Raises :class:`InvalidBundle` or a subclass,
        :class:`NotFound` for an unknown project or site, :class:`InvalidMessage` for a request that
        is none or belongs to another bundle or key, :class:`Denied` by policy, by token, or when
        the request is in another's name or out of its time, and :class:`Conflict` when the
        idempotency key was used for another request, or the request was submitted before.
        """
        job = await self._intake.submit(archive, options, principal)
        self._events.bell.ring(job.id)
        self._events.bell.ring(ANY)
        return job

    def transition(
        self,
        job_id: str,
        event: JobEvent,
        *,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        enclave: str | None = None,
        actor: str = "gateway",
        absent: Mapping[str, Code] = MappingProxyType({}),
    ) -> JobRecord:
        """Let ``event`` happen to a job: the only way to change a state.

        ``enclave`` names who takes the job (with ASSIGN); ``data`` goes into the event and the
        audit entry; ``absent`` says why sites are given up on that have not decided by now.
        Raises :class:`InvalidTransition` where the state machine has no row, and
        :class:`NotFound`.
        """
        with self._database.write() as session:
            row = rows.job_row(session, job_id, lock=True)
            if enclave is not None or event is JobEvent.REQUEUE:
                row.enclave = enclave or ""
            advance(
                session, self._audit, row, event,
                reason=reason, data=data or {}, actor=actor, absent=absent,
            )  # fmt: skip
            job = rows.job_record(session, row)
        self._events.bell.ring(job_id)
        self._events.bell.ring(ANY)
        return job

    def cancel(self, job_id: str, principal: Principal, *, reason: str = "") -> JobRecord:
        """Cancel for a person; a job that was cancelled before stays so without an error."""
        job = self.get(job_id, principal)
        if job.state is JobState.CANCELLED:
            return job
        if job.state.final:
            raise InvalidTransition(
                f"the job {job_id} has ended already: {job.state}",
                why="there is nothing left to cancel",
                remedy=f"`fedgate job show {job_id}` says how it ended and what it released",
            )
        why = reason or f"cancelled by {principal.name}"
        return self.transition(job_id, JobEvent.CANCEL, reason=why, actor=principal.name)

    def expire_due(self, now: datetime | None = None) -> list[JobRecord]:
        """End the jobs that nobody acted on in time; returns those that expired just now."""
        late = select(JobRow).where(
            JobRow.state.in_(_WAITING), JobRow.pending_until <= (now or utc_now())
        )
        with self._database.read() as session:
            due = rows.job_records(session, session.scalars(late.order_by(JobRow.id)).all())
        expired = []
        for job in due:
            reason = f"nobody acted within {self._limits.pending_seconds:g} s"
            if job.request_expires is not None and job.request_expires == job.pending_until:
                reason = f"its signed request was valid until {job.request_expires:%F %T} UTC"
            try:
                expired.append(self.transition(job.id, JobEvent.EXPIRE, reason=reason))
            except InvalidTransition:  # it ended by itself a moment ago
                continue
        return expired

    def get(self, job_id: str, principal: Principal | None = None) -> JobRecord:
        """One job; for a principal only those of its projects exist. Raises :class:`NotFound`."""
        with self._database.read() as session:
            row = rows.job_row(session, job_id)
            if principal is not None and not principal.sees(row.project):
                raise rows.no_job(job_id)
            return rows.job_record(session, row)

    def list(
        self,
        cursor: str | None = None,
        limit: int = 50,
        filters: JobFilter | None = None,
        principal: Principal | None = None,
    ) -> JobPage:
        """A page of jobs, newest first. Raises :class:`InvalidMessage` for a foreign cursor."""
        limit = max(1, min(limit, MAX_PAGE))
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit + 1)
        if cursor is not None:
            query = query.where(JobRow.id < decode_cursor(cursor))
        if principal is not None and principal.projects is not None:
            query = query.where(JobRow.project.in_(principal.projects))
        for name in ("project", "state", "framework", "submitter"):
            wanted = getattr(filters, name, None)
            if wanted is not None:
                query = query.where(getattr(JobRow, name) == wanted)
        with self._database.read() as session:
            found = session.scalars(query).all()
            jobs = tuple(rows.job_records(session, found[:limit]))
        more = len(found) > limit
        return JobPage(jobs, encode_cursor(jobs[-1].id) if more else None)

    def in_states(self, *states: JobState) -> Sequence[JobRecord]:
        """Jobs in these states, oldest first: what a scheduler reconciles from."""
        query = select(JobRow).where(JobRow.state.in_(states)).order_by(JobRow.id)
        with self._database.read() as session:
            return rows.job_records(session, session.scalars(query).all())

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        with self._database.read() as session:
            found = dict(session.execute(query).all())
        return {state: found.get(state.value, 0) for state in JobState}

    def bundle(self, digest: str) -> BundleRecord:
        with self._database.read() as session:
            row = session.get(BundleRow, digest)
            if row is None:
                raise NotFound(f"there is no bundle {digest[:80]!r}")
            return rows.bundle_record(row)

    def request(self, job_id: str) -> bytes:
        """The envelope that was signed for a job; empty for one of an earlier release."""
        with self._database.read() as session:
            row = session.get(RequestRow, job_id)
            return b"" if row is None else row.envelope

    async def bundle_archive(self, digest: str) -> bytes:
        """The archive itself; whoever gets it compares the digest again."""
        return await self._objects.get(self.bundle(digest).object_key)

    def record(self, job_id: str, kind: str, data: Mapping[str, Any]) -> EventRecord:
        """Tell those who watch a job about progress. Raises :class:`InvalidMessage`."""
        return self._events.record_all(job_id, [(kind, data)])[0]

    def record_all(
        self, job_id: str, events: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> Sequence[EventRecord]:
        """Several events in one transaction (one disk flush), in their order."""
        return self._events.record_all(job_id, events)

    def add_events(
        self, session: Session, events: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    ) -> None:
        """What peers tell of jobs, in the caller's transaction, who calls :meth:`told` after it.

        Of a job that has told too much they are left out; the log has what matters.
        """
        for job_id, told in events.items():
            if self._events.has_room(session, job_id, len(told)):
                self._events.add(session, job_id, told)
            for kind, data in told:
                if kind == SITE_STATE_EVENT:
                    set_state(session, job_id, data)

    def told(self, jobs: Iterable[str]) -> None:
        """Wake those who watch these jobs."""
        for job_id in jobs:
            self._events.bell.ring(job_id)

    def events(
        self, job_id: str, after: int = 0, *, kind: str | None = None, limit: int = 1000
    ) -> Sequence[EventRecord]:
        """Up to ``limit`` events with ids above ``after``, in order."""
        return self._events.after(job_id, after, kind=kind, limit=limit)

    def in_clear(self, job_id: str) -> Sequence[str]:
        """Outputs that its project releases in clear; empty before the job was started."""
        states = self._events.after(job_id, 0, kind=STATE_EVENT)
        return next((e.data["clear"] for e in states if "clear" in e.data), ())

    async def wait_events(
        self, job_id: str, after: int = 0, *, seconds: float | None = None
    ) -> Sequence[EventRecord]:
        """Events above ``after`` as soon as there are any; empty once ``seconds`` have passed."""
        return await self._events.wait(job_id, after, seconds)

    def job_sites(self, job_id: str) -> Sequence[JobSite]:
        """The job's sites in the order of the roster."""
        query = select(JobSiteRow).where(JobSiteRow.job == job_id).order_by(JobSiteRow.position)
        with self._database.read() as session:
            rows.job_row(session, job_id)
            return [rows.site_record(row) for row in session.scalars(query)]

    def set_site_decision(
        self, job_id: str, site: str, decision: Decision, reason: str = ""
    ) -> Sequence[JobSite]:
        """Write down what a data owner decided; saying it again changes nothing.

        Returns all sites of the job. Raises :class:`NotFound` when the site is not one of them,
        and :class:`Conflict` when the job has ended or went on without the site.
        """
        told = {"site": site, "decision": decision.value, "reason": reason[:MAX_REASON]}
        with self._database.write() as session:
            job = rows.job_row(session, job_id, lock=True)
            query = select(JobSiteRow).where(JobSiteRow.job == job_id, JobSiteRow.site == site)
            row = session.scalar(query)
            if row is None:
                raise NotFound(f"{site[:80]!r} is not a site of {job_id}")
            changed = (row.decision, row.reason) != (told["decision"], told["reason"])
            if changed and JobState(job.state).final:
                raise Conflict(f"{job_id} has ended; decisions come too late", why=job.state)
            if changed and row.decision == Decision.ABSENT:
                raise Conflict(f"{job_id} went on without {site[:80]!r}", why=row.reason)
            if changed:
                row.decision, row.reason = told["decision"], told["reason"]
                row.decided = utc_now()
                add_event(session, job_id, SITE_EVENT, told)
                self._audit.append(
                    "job.site-decision", told, job=job_id, actor=site, session=session
                )
        if changed:
            self._events.bell.ring(job_id)
            self._events.bell.ring(ANY)
        return self.job_sites(job_id)

    def state_changes(self) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever any job is submitted, decided on, or changes its state."""
        return self._events.bell.listen(ANY)

    def output_key(self, job_id: str, name: str) -> str:
        """A fresh key to store an output under: hand it to ``Objects.put…``, then add it."""
        return output_key(job_id, name)

    def add_output(
        self, job_id: str, kind: OutputKind, name: str, stored: StoredObject, *, sealed: bool
    ) -> Output:
        """Register a released object. Raises :class:`Conflict` when the name is taken."""
        output = self._outputs.add(job_id, kind, name, stored, sealed=sealed)
        self._events.bell.ring(job_id)
        return output

    def outputs(self, job_id: str) -> Sequence[Output]:
        """What the job released, oldest first."""
        return self._outputs.of(job_id)
