"""Submission: an archive and a submitter's choices become a job in review, or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fedgate.errors import Conflict, Denied
from fedgate.job import JobEvent, JobState
from fedgate_gateway.config import GatewayLimits, GatewayProject
from fedgate_gateway.control import rows
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.ids import new_job_id
from fedgate_gateway.control.opaque_needs import SiteFrames, check_frames
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
from fedgate_gateway.control.submission import (
    Recognise,
    SubmitPolicy,
    check_options,
    check_policy,
    inspect,
    request_hash,
)
from fedgate_gateway.control.transitions import add_event, advance
from fedgate_gateway.store import Database, Objects
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import (
    BundleRow,
    IdempotencyRow,
    JobRow,
    JobSiteRow,
    RecipientRow,
)


@dataclass(frozen=True)
class _Checked:
    """A submission that passed every check, on its way into the database."""

    submission: Submission
    decision: PolicyDecision
    options: SubmitOptions
    principal: Principal
    request: bytes
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
    recognise: Recognise
    site_frames: SiteFrames

    async def submit(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> JobRecord:
        """See :meth:`JobService.submit`."""
        principal.require_project(options.project)
        check_options(options)
        request = await asyncio.to_thread(request_hash, archive, options)
        if (earlier := self._repeated(options, principal, request)) is not None:
            return earlier
        await asyncio.to_thread(self._require_room, options, principal)
        submission, decision = await asyncio.to_thread(self._check, archive, options, principal)
        key = bundle_key(submission.bundle)
        with suppress(Conflict):  # content-addressed: what is there already is the same
            await self.objects.put(key, archive)
        checked = _Checked(submission, decision, options, principal, request, key)
        try:
            return await asyncio.to_thread(self._store, checked)
        except IntegrityError:
            # Somebody stored the same bundle or the same key just now, and was faster.
            if (earlier := self._repeated(options, principal, request)) is not None:
                return earlier
            return await asyncio.to_thread(self._store, checked)

    def _require_room(self, options: SubmitOptions, principal: Principal) -> None:
        """Before the archive costs anything; what counts is asked again when it is stored."""
        with self.database.read() as session:
            require_room(session, self.limits, options.project, principal.name)

    def _check(
        self, archive: bytes, options: SubmitOptions, principal: Principal
    ) -> tuple[Submission, PolicyDecision]:
        submission = inspect(
            archive,
            options,
            projects=self.projects,
            limits=self.limits,
            recognise=self.recognise,
            submitter=principal.name,
        )
        try:
            decision = check_policy(submission, self.policy)
            check_frames(submission, self.site_frames)
            return submission, decision
        except Denied as error:
            facts = {**_facts(submission), "reason": str(error)[:2000]}
            self.audit.append("job.refused", facts, actor=principal.name)
            raise

    def _repeated(
        self, options: SubmitOptions, principal: Principal, request: bytes
    ) -> JobRecord | None:
        if not options.idempotency_key:
            return None
        with self.database.read() as session:
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

    def _store(self, checked: _Checked) -> JobRecord:
        submission, actor = checked.submission, checked.principal.name
        with self.database.write() as session:
            require_room(session, self.limits, submission.project, submission.submitter)
            row = _insert(session, checked, self.limits.pending_seconds)
            told = {"state": JobState.SUBMITTED.value, "reason": ""}
            add_event(session, row.id, STATE_EVENT, told)
            self.audit.append(
                "job.submitted", _facts(submission), job=row.id, actor=actor, session=session
            )
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
        task_seconds=options.task_seconds,
        state=JobState.SUBMITTED.value,
        reason="",
        enclave="",
        created=now,
        pending_until=now + timedelta(seconds=pending_seconds),
    )
    session.add(row)
    session.flush()
    for position, site in enumerate(submission.sites):
        pending = Decision.PENDING.value
        session.add(
            JobSiteRow(job=row.id, position=position, site=site, decision=pending, reason="")
        )
    if options.recipient is not None:
        session.add(RecipientRow(job=row.id, public_key=options.recipient))
    if options.idempotency_key:
        session.add(
            IdempotencyRow(
                token=checked.principal.token,
                key=options.idempotency_key,
                request=checked.request,
                job=row.id,
                created=now,
            )
        )
    session.flush()
    return row


def _facts(submission: Submission) -> dict[str, Any]:
    return {
        "project": submission.project,
        "bundle": submission.bundle,
        "framework": submission.manifest.framework,
        "name": submission.name,
        "sites": list(submission.sites),
        "datasets": list(submission.datasets),
        "min_sites": submission.min_sites,
    }
