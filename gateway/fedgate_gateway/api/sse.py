"""Server-sent events (the HTML standard, §9.2) of one job, resumable by Last-Event-ID."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fedgate.errors import InvalidMessage
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.records import EventRecord
from fedgate_gateway.store.database import DatabaseAway

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
#: Seconds between comments on a quiet stream, so that nobody in between takes it for dead.
HEARTBEAT = 15.0
#: Seconds before the next look at a database that is away.
_PAUSE = 1.0
_MAX_ID = 2**63 - 1


def parse_last_event_id(text: str | None) -> int:
    """Where to go on; 0 without a header. Raises :class:`InvalidMessage`."""
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= _MAX_ID):
        raise InvalidMessage("Last-Event-ID is not an event's id", why=f"{text!r:.60}")
    return int(text)


def encode(event: EventRecord) -> bytes:
    # Ours come last: what an event tells cannot pass for its id or its job.
    told = {**event.data, "id": event.id, "job": event.job, "at": event.at.isoformat()}
    data = json.dumps(told, separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode()


async def stream(
    jobs: JobService,
    job_id: str,
    after: int,
    *,
    heartbeat: float = HEARTBEAT,
    only: str | None = None,
) -> AsyncIterator[bytes]:
    """Events above ``after`` as they happen, comments in between; ends after the final state.

    ``only`` one kind is shown, if it is given.
    """
    yield b"retry: 2000\n\n"
    while True:
        try:
            # The state first: a job that ended before we looked has all its events written.
            ended = (await asyncio.to_thread(jobs.get, job_id)).state.final
            seconds = 0.0 if ended else heartbeat
            events = await jobs.wait_events(job_id, after, seconds=seconds)
        except DatabaseAway:
            yield b": the database does not answer\n\n"
            await asyncio.sleep(_PAUSE)
            continue
        for event in events:
            after = event.id
            if only in (None, event.kind):
                yield encode(event)
        if not events and ended:
            return
        if not events:
            yield b": still here\n\n"
