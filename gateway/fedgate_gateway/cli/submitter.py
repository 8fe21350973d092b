"""What a side door can do at the gateway: what `fedgate job` does, for one profile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidMessage
from fedgate.front_door import Order
from fedgate.job import Job, JobState
from fedgate.side_door import Happening, Released, SeenSite
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.progress import JobProgress
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.signing import SignedSubmission, sign_submission
from fedgate_gateway.cli.site_names import with_site_names
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.governance import as_title


class ProfileSubmitter:
    """A :class:`fedgate.side_door.Submitter` with a profile's token and recipient key."""

    def __init__(self, client: Client, profile: Path | None) -> None:
        self._client = client
        self._submissions = Submissions(profile)
        recipient = client.profile.recipient
        self._recipient = client.profile.recipient_key().public_raw if recipient else None

    def submit(self, archive: bytes, order: Order, *, name: str, key: str) -> Job:
        fresh = sign_submission(
            self._client.profile,
            # The door's list is for all its jobs, which need not hold all of its names.
            with_site_names(archive, order.site_names, required=False),
            project=order.project,
            name=as_title(name),
            sites=order.sites,
            datasets=order.datasets,
            min_sites=order.min_sites,
            config=order.config,
            recipient=self._recipient,
            task_seconds=order.task_seconds,
            site_files=order.site_files,
        )
        signed = self._signed_before(key, fresh) or fresh
        self._submissions.remember(key, signed.envelope)
        told = self._client.send(signed, idempotency_key=key)
        self._submissions.submitted(told, signed)
        return _job(told)

    def _signed_before(self, key: str, fresh: SignedSubmission) -> SignedSubmission | None:
        """What an earlier run signed for the same submission, while it still counts."""
        envelope = self._submissions.pending(key)
        if envelope is None:
            return None
        earlier = replace(fresh, envelope=envelope)
        ours = fresh.request
        same = replace(
            earlier.request, created=ours.created, expires=ours.expires, nonce=ours.nonce
        )
        return earlier if same == ours and earlier.request.expires > time.time() else None

    def look(self, job: str) -> Job:
        return _job(self._client.job(job)["job"])

    def cancel(self, job: str) -> Job:
        return _job(self._client.cancel(job))

    def happenings(self, job: str, *, after: int = 0) -> Iterator[Happening]:
        progress = JobProgress.of(self._client.job(job)["job"])
        for event in self._client.events(job, after):
            yield Happening(event.id, event.kind, event.data, progress.apply(event))

    def fetch(self, job: str, into: Path) -> Sequence[Released]:
        fetched = fetch_all(self._client, job, into, submissions=self._submissions)
        return [Released(item.kind, Path(item.path)) for item in fetched]

    def sites(self) -> Sequence[SeenSite]:
        return [SeenSite(str(s["name"]), bool(s["online"])) for s in self._client.sites()]


def _job(told: Mapping[str, Any]) -> Job:
    try:
        return Job(
            id=str(told["id"]),
            project=str(told["project"]),
            bundle=str(told["bundle"]),
            framework=str(told["framework"]),
            name=str(told["name"]),
            submitter=str(told["submitter"]),
            sites=tuple(told["sites"]),
            datasets=tuple(told["datasets"]),
            min_sites=int(told["min_sites"]),
            config=dict(told["config"]),
            state=JobState(told["state"]),
            reason=str(told["reason"]),
            created=_time(told["created"]),
            started=_time(told["started"]),
            ended=_time(told["ended"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidMessage("the gateway describes a job wrongly", why=repr(error)) from error


def _time(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(str(text))
