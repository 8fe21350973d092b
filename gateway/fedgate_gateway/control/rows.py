"""From rows to records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedgate.errors import NotFound
from fedgate.job import JobState
from fedgate.manifest import Manifest
from fedgate_gateway.control.records import (
    BundleRecord,
    Decision,
    EventRecord,
    JobRecord,
    JobSite,
    Output,
    OutputKind,
)
from fedgate_gateway.store.tables import (
    BundleRow,
    JobEventRow,
    JobRow,
    JobSiteRow,
    OutputRow,
    RecipientRow,
    RequestRow,
)


def job_row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """The row of a job; raises :class:`NotFound`. ``lock``: until the transaction's end."""
    query = select(JobRow).where(JobRow.id == job_id)
    row = session.scalar(query.with_for_update() if lock else query)
    if row is None:
        raise no_job(job_id)
    return row


def no_job(job_id: str) -> NotFound:
    """The same words for a job that is not there and for one that is not to be seen."""
    return NotFound(f"there is no job {job_id[:64]!r}", remedy="see `fedgate job list`")


def job_records(session: Session, rows: Sequence[JobRow]) -> list[JobRecord]:
    """Records in the order of the rows, with three queries whatever their number."""
    ids = [row.id for row in rows]
    sites: dict[str, list[str]] = {job: [] for job in ids}
    placed = select(JobSiteRow.job, JobSiteRow.site).where(JobSiteRow.job.in_(ids))
    for job, site in session.execute(placed.order_by(JobSiteRow.job, JobSiteRow.position)):
        sites[job].append(site)
    wanted = select(RecipientRow.job, RecipientRow.public_key).where(RecipientRow.job.in_(ids))
    recipients = dict(session.execute(wanted).all())
    asked = select(
        RequestRow.job, RequestRow.digest, RequestRow.signed_by, RequestRow.expires
    ).where(RequestRow.job.in_(ids))
    requests = {
        job: (digest, signed_by, expires)
        for job, digest, signed_by, expires in session.execute(asked)
    }
    return [
        _job(row, tuple(sites[row.id]), recipients.get(row.id), requests.get(row.id))
        for row in rows
    ]


def job_record(session: Session, row: JobRow) -> JobRecord:
    return job_records(session, [row])[0]


def _job(
    row: JobRow,
    sites: tuple[str, ...],
    recipient: bytes | None,
    request: tuple[str, str, datetime] | None,
) -> JobRecord:
    # A job of a release before signed requests has none; no peer takes it any more.
    digest, signed_by, expires = request or ("", "", None)
    return JobRecord(
        id=row.id,
        project=row.project,
        bundle=row.bundle,
        framework=row.framework,
        name=row.name,
        submitter=row.submitter,
        sites=sites,
        datasets=tuple(row.datasets),
        min_sites=row.min_sites,
        config=row.config,
        state=JobState(row.state),
        reason=row.reason,
        created=row.created,
        started=row.started,
        ended=row.ended,
        pending_until=row.pending_until,
        enclave=row.enclave,
        recipient=recipient,
        task_seconds=row.task_seconds,
        request=digest,
        signed_by=signed_by,
        request_expires=expires,
    )


def event_record(row: JobEventRow) -> EventRecord:
    return EventRecord(row.id, row.job, row.at, row.kind, row.data)


def site_record(row: JobSiteRow) -> JobSite:
    return JobSite(
        row.site, Decision(row.decision), row.reason, row.decided, row.state or "", row.why or ""
    )


def output_record(row: OutputRow) -> Output:
    return Output(
        job=row.job,
        name=row.name,
        kind=OutputKind(row.kind),
        object_key=row.object_key,
        size=row.size,
        digest=row.digest,
        sealed=row.sealed,
        created=row.created,
    )


def bundle_record(row: BundleRow) -> BundleRecord:
    manifest = Manifest.from_dict(row.manifest)
    return BundleRecord(row.digest, row.size, row.framework, manifest, row.object_key)
