"""Jobs as a framework's own command shows them, with a handful of queries whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedgate.front_door import Sight
from fedgate.job import JobState
from fedgate.manifest import Manifest
from fedgate_gateway.control import rows
from fedgate_gateway.control.records import STATE_EVENT, Decision, JobRecord, JobSite
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.front.numbers import JobNumbers
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.store.tables import BundleRow, JobEventRow, JobSiteRow

_ROUND_EVENT = "round"
#: Traffic is added up from the rounds' events; of more than this it would be slow.
_MOST_ROUNDS = 20_000


class Sightings:
    """Makes sights of jobs; blocking."""

    def __init__(self, state: GatewayState, numbers: JobNumbers) -> None:
        self._state = state
        self._numbers = numbers

    def of(self, jobs: Sequence[JobRecord]) -> list[Sight]:
        """In the order of ``jobs``."""
        ids = [job.id for job in jobs]
        numbers = self._numbers.of(ids)
        with self._state.database.read() as session:
            manifests = _manifests(session, {job.bundle for job in jobs})
            entered = _entered(session, ids)
            traffic = _traffic(session, ids)
            sites = _sites(session, ids)
        return [
            Sight(
                job=job,
                number=numbers[job.id],
                manifest=manifests[job.bundle],
                entered=entered[job.id],
                explanation=self._explain(job, sites[job.id]),
                sent_bytes=traffic[job.id][0],
                received_bytes=traffic[job.id][1],
            )
            for job in jobs
        ]

    def _explain(self, job: JobRecord, sites: Sequence[JobSite]) -> str:
        match job.state:
            case JobState.SUBMITTED | JobState.IN_REVIEW:
                return self._review(job, sites)
            case JobState.QUEUED:
                why = f" ({job.reason})" if job.reason else ""
                return f"accepted, waits for room at an enclave and the sites{why}"
            case JobState.STARTING:
                return "the enclave proves itself to the sites"
            case JobState.DENIED:
                return job.reason or _denials(sites)
        return job.reason

    def _review(self, job: JobRecord, sites: Sequence[JobSite]) -> str:
        pending = [self._named(site.site) for site in sites if site.decision is Decision.PENDING]
        accepted = [site.site for site in sites if site.decision is Decision.ACCEPTED]
        parts = [f"waits for {', '.join(pending)} to decide"] if pending else []
        if accepted:
            parts.append(f"{', '.join(accepted)} accepted")
        if denied := _denials(sites):
            parts.append(f"denied by {denied}")
        if job.recipient is None:
            parts.append("no key to seal outputs to (`fedgate flower connect` registers one)")
        if job.pending_until is not None:
            parts.append(f"expires at {job.pending_until:%Y-%m-%d %H:%M:%SZ}")
        return "; ".join(parts)

    def _named(self, site: str) -> str:
        return site if self._state.presence(PeerKind.SITE, site) else f"{site} (offline)"


def _denials(sites: Sequence[JobSite]) -> str:
    denied = [site for site in sites if site.decision is Decision.DENIED]
    return ", ".join(f"{s.site}: {s.reason}" if s.reason else s.site for s in denied)


def _manifests(session: Session, digests: set[str]) -> dict[str, Manifest]:
    query = select(BundleRow.digest, BundleRow.manifest).where(BundleRow.digest.in_(digests))
    return {digest: Manifest.from_dict(read) for digest, read in session.execute(query).tuples()}


def _entered(session: Session, ids: Sequence[str]) -> dict[str, dict[JobState, datetime]]:
    query = select(JobEventRow.job, JobEventRow.at, JobEventRow.data).where(
        JobEventRow.job.in_(ids), JobEventRow.kind == STATE_EVENT
    )
    found: dict[str, dict[JobState, datetime]] = defaultdict(dict)
    for job, at, data in session.execute(query.order_by(JobEventRow.id)).tuples():
        found[job][JobState(data["state"])] = at
    return found


def _sites(session: Session, ids: Sequence[str]) -> dict[str, list[JobSite]]:
    query = select(JobSiteRow).where(JobSiteRow.job.in_(ids))
    found: dict[str, list[JobSite]] = defaultdict(list)
    for row in session.scalars(query.order_by(JobSiteRow.job, JobSiteRow.position)):
        found[row.job].append(rows.site_record(row))
    return found


def _traffic(session: Session, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Bytes to the sites and from them, as the enclave told them."""
    query = select(JobEventRow.job, JobEventRow.data).where(
        JobEventRow.job.in_(ids), JobEventRow.kind == _ROUND_EVENT
    )
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for job, data in session.execute(query.limit(_MOST_ROUNDS)).tuples():
        sent, received = found[job]
        found[job] = (
            sent + _count(data.get("sent_bytes")),
            received + _count(data.get("received_bytes")),
        )
    return found


def _count(value: object) -> int:
    """What an enclave tells is not ours: anything but a size counts for nothing."""
    return value if type(value) is int and 0 <= value < 2**50 else 0
