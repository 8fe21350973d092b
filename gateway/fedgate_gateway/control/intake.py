"""Submission: an archive and a submitter's choices become a job in review, or nothing at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fedgate.errors import Conflict, Denied
from fedgate.job import JobEvent, JobState
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control import rows
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.guard_needs import SiteGuard, check_guards
from fedgate_gateway.control.ids import new_job_id
from fedgate_gateway.control.pending_shares import require_room
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.records import (
    STATE_EVENT,
    Decision,
    JobRecord,
    PolicyDecision,
    Submission,
    SubmitOptions,
)
from fedgate_gateway.control.signed_submission import SignedSubmission, read_signed
from fedgate_gateway.control.submission import (
    SubmitPolicy,
    bundle_limits,
    check_cohort,
    check_idempotency_key,
    check_policy,
    request_hash,
    require_project,
    settle,
)
from fedgate_gateway.control.transitions import add_event, advance
from fedgate_gateway.inspection import Inspected, Inspects
from fedgate_gateway.store import Database, Objects
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import (
    BundleRow,
    IdempotencyRow,
    JobRow,
    JobSiteRow,
    RecipientRow,
    RequestRow,
)


@dataclass(frozen=True)
class _Checked:
    """A submission that passed every check, on its way into the database."""

    submission: Submission
    decision: PolicyDecision
    options: SubmitOptions
    principal: Principal
    signed: SignedSubmission
    hash: bytes
    object_key: str


@dataclass(frozen=True)
class Intake:
    """Checks and stores submissions."""

    database: Database
    objects: Objects
    audit: AuditSink
    policy: SubmitPolicy
    projects: Mapping[str, GatewayProject]
    limits: GatewayLimits
    inspector: Inspects
    site_guard: SiteGuard
    own_key: bytes

    async def submit(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> JobRecord:
        """See :meth:`JobService.submit`."""
        check_idempotency_key(options.idempotency_key)
        hashed = await asyncio.to_thread(request_hash, archive, options)
        if (earlier := self._repeated(options, principal, hashed)) is not None:
            return earlier
        signed = await asyncio.to_thread(
            read_signed, archive, options, principal, own_key=self.own_key, now=time.time()
        )
        await asyncio.to_thread(self._require_room, signed)
        self._require_new(signed)
        require_project(signed.request, self.projects)
        inspected = await self.inspector.inspect(
            archive, limits=bundle_limits(self.limits), holder=signed.request.submitter
        )
        submission, decision = await asyncio.to_thread(self._check, inspected, signed, principal)
        key = bundle_key(submission.bundle)
        with suppress(Conflict):  # content-addressed: what is there already is the same
            await self.objects.put(key, archive)
        checked = _Checked(submission, decision, options, principal, signed, hashed, key)
        try:
            return await asyncio.to_thread(self._store, checked)
        except IntegrityError:
            # Somebody stored the same bundle, key or request just now, and was faster.
            if (earlier := self._repeated(options, principal, hashed)) is not None:
                return earlier
            self._require_new(signed)
            return await asyncio.to_thread(self._store, checked)

    def _require_room(self, signed: SignedSubmission) -> None:
        """Before the archive is unpacked; what counts is asked again when it is stored."""
        with self.database.read() as session:
            asked = signed.request
            require_room(session, self.limits, asked.project, asked.submitter)

    def _check(
        self, inspected: Inspected, signed: SignedSubmission, principal: Principal
    ) -> tuple[Submission, PolicyDecision]:
        project = require_project(signed.request, self.projects)
        submission = settle(inspected, signed, project)
        try:
            decision = check_policy(submission, self.policy)
            check_cohort(submission, self.projects[submission.project].minimum_cohort)
            check_guards(submission, self.site_guard)
            return submission, decision
        except Denied as error:
            facts = {**_facts(submission, signed), "reason": str(error)[:2000]}
            self.audit.append("job.refused", facts, actor=principal.name)
            raise

    def _require_new(self, signed: SignedSubmission) -> None:
        """One request makes one job; its nonce says that a second was meant."""
        with self.database.read() as session:
            job = session.scalar(select(RequestRow.job).where(RequestRow.digest == signed.digest))
        if job is not None:
            raise Conflict(
                "this signed request was submitted before",
                why=f"it made {job}",
                remedy="sign a new request for another run",
            )

    def _repeated(
        self, options: SubmitOptions, principal: Principal, hashed: bytes
    ) -> JobRecord | None:
        if not options.idempotency_key:
            return None
        with self.database.read() as session:
            row = session.get(IdempotencyRow, (principal.token, options.idempotency_key))
            if row is None:
                return None
            if row.request != hashed:
                raise Conflict(
                    "this Idempotency-Key was used for another submission",
                    why=f"it made {row.job}",
                    remedy="use a fresh key for every new submission",
                )
            return rows.job_record(session, rows.job_row(session, row.job))

    def _store(self, checked: _Checked) -> JobRecord:
        submission, actor = checked.submission, checked.principal.name
        with self.database.write() as session:
            require_room(session, self.limits, submission.project, submission.submitter)
            row = _insert(session, checked, self.limits.pending_seconds)
            told = {"state": JobState.SUBMITTED.value, "reason": ""}
            facts = _facts(submission, checked.signed)
            add_event(session, row.id, STATE_EVENT, told)
            self.audit.append("job.submitted", facts, job=row.id, actor=actor, session=session)
            reasons = {"policy": list(checked.decision.reasons)}
            advance(
                session, self.audit, row, JobEvent.REVIEW, reason="", data=reasons, actor="gateway"
            )
            return rows.job_record(session, row)


def bundle_key(digest: str) -> str:
    """Where the object store keeps a bundle."""
    return "bundles/" + digest.removeprefix("sha256:")


def _insert(session: Session, checked: _Checked, pending_seconds: float) -> JobRow:
    submission, options, now = checked.submission, checked.options, utc_now()
    signed = checked.signed
    manifest = submission.manifest
    if session.get(BundleRow, submission.bundle) is None:
        session.add(
            BundleRow(
                digest=submission.bundle,
                size=submission.size,
                framework=manifest.framework,
                manifest=manifest.to_dict(),
                object_key=checked.object_key,
                created=now,
            )
        )
        session.flush()
    row = JobRow(
        id=new_job_id(),
        project=submission.project,
        bundle=submission.bundle,
        framework=manifest.framework,
        name=submission.name,
        submitter=submission.submitter,
        datasets=list(submission.datasets),
        min_sites=submission.min_sites,
        config=dict(submission.config),
        task_seconds=signed.request.task_seconds,
        state=JobState.SUBMITTED.value,
        reason="",
        enclave="",
        created=now,
        pending_until=min(now + timedelta(seconds=pending_seconds), signed.expires),
    )
    session.add(row)
    session.flush()
    for position, site in enumerate(submission.sites):
        pending = Decision.PENDING.value
        session.add(
            JobSiteRow(job=row.id, position=position, site=site, decision=pending, reason="")
        )
    session.add(
        RequestRow(
            job=row.id,
            digest=signed.digest,
            envelope=signed.envelope,
            signed_by=signed.signed_by.value,
            expires=signed.expires,
        )
    )
    if options.recipient is not None:
        session.add(RecipientRow(job=row.id, public_key=options.recipient))
    if options.idempotency_key:
        session.add(
            IdempotencyRow(
                token=checked.principal.token,
                key=options.idempotency_key,
                request=checked.hash,
                job=row.id,
                created=now,
            )
        )
    session.flush()
    return row


def _facts(submission: Submission, signed: SignedSubmission) -> dict[str, Any]:
    return {
        "request": signed.digest,
        "signed_by": signed.signed_by.value,
        "project": submission.project,
        "bundle": submission.bundle,
        "framework": submission.manifest.framework,
        "name": submission.name,
        "sites": list(submission.sites),
        "datasets": list(submission.datasets),
        "min_sites": submission.min_sites,
    }
