"""Jobs: the only place where one is made, changes its state, or gets an event.

Every change is one transaction that holds the new state, the event that people see, and the entry
in the audit log, so that none is ever there without the others. All methods that are not ``async``
are quick and thread-safe; they may be called on the event loop or in a worker thread.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fedgate.errors import Conflict, InvalidMessage, NotFound
from fedgate.job import JobEvent, JobState, next_state
from fedgate.plugins import recognise as recognise_installed
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control import rows
from fedgate_gateway.control.bell import Bell
from fedgate_gateway.control.cursor import decode_cursor, encode_cursor
from fedgate_gateway.control.ids import new_job_id
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.records import (
    OUTPUT_EVENT,
    SITE_EVENT,
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
    PolicyDecision,
    Submission,
    SubmitOptions,
)
from fedgate_gateway.control.submission import (
    Recognise,
    SubmitPolicy,
    check_options,
    check_policy,
    inspect,
    request_hash,
)
from fedgate_gateway.store import Database, Objects, StoredObject
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import (
    BundleRow,
    IdempotencyRow,
    JobEventRow,
    JobRow,
    JobSiteRow,
    OutputRow,
    RecipientRow,
)

_RESERVED = frozenset({STATE_EVENT, SITE_EVENT, OUTPUT_EVENT})
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,31}")
_OUTPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MAX_EVENT_BYTES = 64 * 1024
MAX_PAGE = 500


class AuditSink(Protocol):
    """Where decisions and transitions are written down for good; see ``AuditLog.append``."""

    def append(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        job: str | None = None,
        actor: str = "",
        session: Session | None = None,
    ) -> int: ...


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
        limits: GatewayLimits | None = None,
        recognise: Recognise = recognise_installed,
    ) -> None:
        self._database = database
        self._objects = objects
        self._audit = audit
        self._policy = policy
        self._projects = projects
        self._limits = limits or GatewayLimits()
        self._recognise = recognise
        self._bell = Bell()

    # -- submission ------------------------------------------------------------------------

    async def submit(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> JobRecord:
        """Check a submission completely, then store it as a job in review.

        Nothing is stored unless every check passed. Raises what :mod:`submission` raises, and
        :class:`Conflict` when the idempotency key was used for another request.
        """
        principal.require_project(options.project)
        check_options(options)
        request = await asyncio.to_thread(request_hash, archive, options)
        if (earlier := self._repeated(options, principal, request)) is not None:
            return earlier
        submission, decision = await asyncio.to_thread(self._check, archive, options, principal)
        key = bundle_key(submission.bundle)
        with suppress(Conflict):  # content-addressed: what is there already is the same
            await self._objects.put(key, archive)
        try:
            job = await asyncio.to_thread(
                self._insert, submission, decision, options, principal, request, key
            )
        except IntegrityError:
            # The same key came twice at the same time, and the other one was faster.
            if (earlier := self._repeated(options, principal, request)) is not None:
                return earlier
            raise
        self._bell.ring(job.id)
        return job

    def _check(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> tuple[Submission, PolicyDecision]:
        submission = inspect(
            archive,
            options,
            projects=self._projects,
            limits=self._limits,
            recognise=self._recognise,
            submitter=principal.name,
        )
        try:
            return submission, check_policy(submission, self._policy)
        except Exception as error:
            facts = {**_facts(submission), "reason": str(error)[:2000]}
            self._audit.append("job.refused", facts, actor=principal.name)
            raise

    def _repeated(
        self, options: SubmitOptions, principal: Principal, request: bytes
    ) -> JobRecord | None:
        if not options.idempotency_key:
            return None
        with self._database.read() as session:
            row = session.get(IdempotencyRow, (principal.token, options.idempotency_key))
            if row is None:
                return None
            if row.request != request:
                raise Conflict(
                    "this Idempotency-Key was used for another submission",
                    why=f"it made {row.job}",
                    remedy="use a fresh key for every new submission",
                )
            return rows.job_record(session, rows.job_row(session, row.job))

    def _insert(
        self,
        submission: Submission,
        decision: PolicyDecision,
        options: SubmitOptions,
        principal: Principal,
        request: bytes,
        key: str,
    ) -> JobRecord:
        now = utc_now()
        manifest = submission.manifest
        with self._database.write() as session:
            if session.get(BundleRow, submission.bundle) is None:
                session.add(
                    BundleRow(
                        digest=submission.bundle,
                        size=submission.size,
                        framework=manifest.framework,
                        manifest=manifest.to_dict(),
                        object_key=key,
                        created=now,
                    )
                )
                session.flush()
            row = JobRow(
                id=new_job_id(),
                project=submission.project,
                bundle=submission.bundle,
                framework=manifest.framework,
                name=(options.name or manifest.name)[:255],
                submitter=submission.submitter,
                datasets=list(submission.datasets),
                min_sites=submission.min_sites,
                config=dict(submission.config),
                task_seconds=options.task_seconds,
                state=JobState.SUBMITTED,
                reason="",
                enclave="",
                created=now,
                pending_until=now + timedelta(seconds=self._limits.pending_seconds),
            )
            session.add(row)
            session.flush()
            session.add_all(
                JobSiteRow(
                    job=row.id, position=position, site=site, decision=Decision.PENDING, reason=""
                )
                for position, site in enumerate(submission.sites)
            )
            if options.recipient is not None:
                session.add(RecipientRow(job=row.id, public_key=options.recipient))
            if options.idempotency_key:
                session.add(
                    IdempotencyRow(
                        token=principal.token,
                        key=options.idempotency_key,
                        request=request,
                        job=row.id,
                        created=now,
                    )
                )
            _add_event(session, row.id, STATE_EVENT, {"state": JobState.SUBMITTED, "reason": ""})
            session.flush()
            self._audit.append(
                "job.submitted",
                _facts(submission),
                job=row.id,
                actor=principal.name,
                session=session,
            )
            self._advance(
                session, row, JobEvent.REVIEW, "", {"policy": list(decision.reasons)}, "gateway"
            )
            return rows.job_record(session, row)

    # -- state -----------------------------------------------------------------------------

    def transition(
        self,
        job_id: str,
        event: JobEvent,
        *,
        reason: str = "",
        data: Mapping[str, Any] | None = None,
        enclave: str | None = None,
        actor: str = "gateway",
    ) -> JobRecord:
        """Let ``event`` happen to a job: the only way to change a state.

        ``enclave`` names who takes the job (with ASSIGN). Raises :class:`InvalidTransition` where
        the state machine has no row, and :class:`NotFound`.
        """
        with self._database.write() as session:
            row = rows.job_row(session, job_id, lock=True)
            if enclave is not None:
                row.enclave = enclave
            if event is JobEvent.REQUEUE:
                row.enclave = ""
            self._advance(session, row, event, reason, dict(data or {}), actor)
            job = rows.job_record(session, row)
        self._bell.ring(job_id)
        return job

    def cancel(self, job_id: str, principal: Principal, *, reason: str = "") -> JobRecord:
        """Cancel for a person; a job that was cancelled before stays so without an error."""
        job = self.get(job_id, principal)
        if job.state is JobState.CANCELLED:
            return job
        why = reason or f"cancelled by {principal.name}"
        return self.transition(job_id, JobEvent.CANCEL, reason=why, actor=principal.name)

    def expire_due(self, now: datetime | None = None) -> list[JobRecord]:
        """End the jobs that nobody acted on in time; returns those that expired just now."""
        late = select(JobRow.id).where(
            JobRow.state.in_([JobState.SUBMITTED, JobState.IN_REVIEW, JobState.QUEUED]),
            JobRow.pending_until <= (now or utc_now()),
        )
        with self._database.read() as session:
            due = session.scalars(late.order_by(JobRow.id)).all()
        reason = f"nobody acted within {self._limits.pending_seconds:g} s"
        return [self.transition(job, JobEvent.EXPIRE, reason=reason) for job in due]

    def _advance(
        self,
        session: Session,
        row: JobRow,
        event: JobEvent,
        reason: str,
        data: dict[str, Any],
        actor: str,
    ) -> None:
        before = JobState(row.state)
        after = next_state(before, event)
        row.state, row.reason = after, reason[:2000]
        if event is JobEvent.START:
            row.started = utc_now()
        if after.final:
            row.ended = utc_now()
        told = {
            **data,
            "event": event.value,
            "from": before.value,
            "state": after.value,
            "reason": row.reason,
        }
        if row.enclave:
            told["enclave"] = row.enclave
        _add_event(session, row.id, STATE_EVENT, told)
        session.flush()
        self._audit.append("job.transition", told, job=row.id, actor=actor, session=session)

    # -- looking ---------------------------------------------------------------------------

    def get(self, job_id: str, principal: Principal | None = None) -> JobRecord:
        """One job; for a principal only those of its projects exist. Raises :class:`NotFound`."""
        with self._database.read() as session:
            row = rows.job_row(session, job_id)
            if principal is not None and not principal.sees(row.project):
                raise NotFound(f"there is no job {job_id[:64]!r}", remedy="see `fedgate job list`")
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

    def bundle(self, digest: str) -> BundleRecord:
        with self._database.read() as session:
            row = session.get(BundleRow, digest)
            if row is None:
                raise NotFound(f"there is no bundle {digest[:80]!r}")
            return rows.bundle_record(row)

    async def bundle_archive(self, digest: str) -> bytes:
        """The archive itself; whoever gets it compares the digest again."""
        return await self._objects.get(self.bundle(digest).object_key)

    # -- events ----------------------------------------------------------------------------

    def record(self, job_id: str, kind: str, data: Mapping[str, Any]) -> EventRecord:
        """Tell those who watch a job about progress. Raises :class:`InvalidMessage`."""
        return self.record_all(job_id, [(kind, data)])[0]

    def record_all(
        self, job_id: str, events: Sequence[tuple[str, Mapping[str, Any]]]
    ) -> Sequence[EventRecord]:
        """Several events in one transaction, in their order."""
        for kind, data in events:
            _check_event(kind, data)
        with self._database.write() as session:
            rows.job_row(session, job_id)
            added = [_add_event(session, job_id, kind, dict(data)) for kind, data in events]
            session.flush()
            told = [rows.event_record(row) for row in added]
        self._bell.ring(job_id)
        return told

    def events(
        self, job_id: str, after: int = 0, *, kind: str | None = None, limit: int = 1000
    ) -> Sequence[EventRecord]:
        """Up to ``limit`` events with ids above ``after``, in order."""
        query = select(JobEventRow).where(JobEventRow.job == job_id, JobEventRow.id > after)
        if kind is not None:
            query = query.where(JobEventRow.kind == kind)
        with self._database.read() as session:
            found = session.scalars(query.order_by(JobEventRow.id).limit(limit)).all()
            return [rows.event_record(row) for row in found]

    async def wait_events(
        self, job_id: str, after: int = 0, *, timeout: float | None = None
    ) -> Sequence[EventRecord]:
        """Events after ``after`` as soon as there are any; empty once ``timeout`` seconds passed."""
        with self._bell.listen(job_id) as rung:
            found = await asyncio.to_thread(self.events, job_id, after)
            if not found:
                with suppress(TimeoutError):
                    await asyncio.wait_for(rung.wait(), timeout)
                found = await asyncio.to_thread(self.events, job_id, after)
            return found

    # -- sites -----------------------------------------------------------------------------

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
        and :class:`Conflict` when the job has ended.
        """
        with self._database.write() as session:
            job = rows.job_row(session, job_id, lock=True)
            query = select(JobSiteRow).where(JobSiteRow.job == job_id, JobSiteRow.site == site)
            row = session.scalar(query)
            if row is None:
                raise NotFound(f"{site!r} is not a site of {job_id}")
            if row.decision == decision.value and row.reason == reason[:2000]:
                return self.job_sites(job_id)
            if JobState(job.state).final:
                raise Conflict(f"{job_id} has ended; decisions come too late", why=job.state)
            row.decision, row.reason, row.decided = decision.value, reason[:2000], utc_now()
            told = {"site": site, "decision": decision.value, "reason": row.reason}
            _add_event(session, job_id, SITE_EVENT, told)
            session.flush()
            self._audit.append("job.site-decision", told, job=job_id, actor=site, session=session)
        self._bell.ring(job_id)
        return self.job_sites(job_id)

    # -- outputs ---------------------------------------------------------------------------

    def output_key(self, job_id: str, name: str) -> str:
        """Where the object store keeps an output."""
        if not _OUTPUT_NAME.fullmatch(name):
            raise InvalidMessage("that is no name for an output", why=f"{name!r:.100}")
        return f"outputs/{job_id}/{name}"

    def add_output(
        self, job_id: str, kind: OutputKind, name: str, stored: StoredObject, *, sealed: bool
    ) -> Output:
        """Register a released object. Raises :class:`Conflict` when the name is taken."""
        self.output_key(job_id, name)
        with self._database.write() as session:
            rows.job_row(session, job_id, lock=True)
            if session.get(OutputRow, (job_id, name)) is not None:
                raise Conflict(f"{job_id} has an output {name!r} already")
            row = OutputRow(
                job=job_id,
                name=name,
                kind=kind.value,
                object_key=stored.key,
                size=stored.size,
                digest=stored.digest,
                sealed=sealed,
                created=utc_now(),
            )
            session.add(row)
            told = {
                "name": name,
                "kind": kind.value,
                "size": stored.size,
                "digest": stored.digest,
                "sealed": sealed,
            }
            _add_event(session, job_id, OUTPUT_EVENT, told)
            session.flush()
            self._audit.append("job.output", told, job=job_id, actor="gateway", session=session)
            output = rows.output_record(row)
        self._bell.ring(job_id)
        return output

    def outputs(self, job_id: str) -> Sequence[Output]:
        query = select(OutputRow).where(OutputRow.job == job_id).order_by(OutputRow.name)
        with self._database.read() as session:
            rows.job_row(session, job_id)
            return [rows.output_record(row) for row in session.scalars(query)]


def bundle_key(digest: str) -> str:
    return "bundles/" + digest.removeprefix("sha256:")


def _facts(submission: Submission) -> dict[str, Any]:
    return {
        "project": submission.project,
        "bundle": submission.bundle,
        "framework": submission.manifest.framework,
        "sites": list(submission.sites),
        "datasets": list(submission.datasets),
        "min_sites": submission.min_sites,
    }


def _add_event(session: Session, job: str, kind: str, data: dict[str, Any]) -> JobEventRow:
    row = JobEventRow(job=job, at=utc_now(), kind=kind, data=data)
    session.add(row)
    return row


def _check_event(kind: str, data: Mapping[str, Any]) -> None:
    if not _KIND.fullmatch(kind) or kind in _RESERVED:
        raise InvalidMessage(f"{kind!r:.60} is not a kind of event that can be recorded")
    try:
        size = len(json.dumps(dict(data), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidMessage("an event's data is not JSON", why=str(error)) from error
    if size > MAX_EVENT_BYTES:
        raise InvalidMessage("an event is too large", why=f"{size} bytes of {MAX_EVENT_BYTES}")
