"""What happens to a job, as lines for people who follow it by a framework's own command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from fedgate.front_door import Lines
from fedgate.job import JobState
from fedgate_gateway.cli.output import printable
from fedgate_gateway.cli.progress import JobProgress
from fedgate_gateway.cli.sse import Event
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.records import (
    LOG_EVENT,
    STATE_EVENT,
    EventRecord,
    JobRecord,
    OutputKind,
)
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.database import DatabaseAway

#: Seconds between empty lines on a quiet stream, so that nobody in between takes it for dead.
HEARTBEAT = 15.0
#: Seconds before the next look at a database that is away.
_PAUSE = 1.0
_MOST_CHARACTERS = 256 * 1024  # of one piece


async def narrate(
    jobs: JobService, job: JobRecord, *, after: datetime | None, heartbeat: float = HEARTBEAT
) -> AsyncIterator[Lines]:
    """Everything after a time as it happens; ends after the final state and a closing word."""
    teller, last = _Teller(job, after), 0
    over = False
    while not over:
        try:
            # The state first: a job that ended before we looked has all its events written.
            ended = jobs.get(job.id).state.final
            events = await jobs.wait_events(job.id, last, seconds=0.0 if ended else heartbeat)
        except DatabaseAway:
            yield Lines("", utc_now())
            await asyncio.sleep(_PAUSE)
            continue
        over = _final(events[-1]) if events else ended
        last = events[-1].id if events else last
        pieces = teller.pieces(events)
        if over and (word := _closing(jobs, job)):
            said = pieces.pop() if pieces else Lines("", utc_now())
            pieces.append(said.and_then(word))
        for piece in pieces:
            yield piece
        if not events and not over:
            yield Lines("", utc_now())


class _Teller:
    """Turns events into text, in their order."""

    def __init__(self, job: JobRecord, after: datetime | None) -> None:
        self._after = after
        self._progress = JobProgress(
            job.id, name=printable(job.name), framework=job.framework, sites=job.sites
        )

    def pieces(self, events: Sequence[EventRecord]) -> list[Lines]:
        """As few as their size allows: `flwr log --show` prints the first one only."""
        pieces: list[Lines] = []
        text = ""
        for event in events:
            line = self._line(event)
            if not line or (self._after is not None and event.at <= self._after):
                continue
            text += line
            at = event.at
            if len(text) >= _MOST_CHARACTERS:
                pieces.append(Lines(text, at))
                text = ""
        if text:
            pieces.append(Lines(text, at))
        return pieces

    def _line(self, event: EventRecord) -> str:
        if event.kind == LOG_EVENT:
            text = printable(str(event.data.get("text", "")))
            return text if text.endswith("\n") or not text else text + "\n"
        line = self._progress.apply(Event(event.id, event.kind, dict(event.data)))
        return f"{event.at:%H:%M:%S}  {line}\n" if line else ""


def _closing(jobs: JobService, job: JobRecord) -> str:
    """Where the rest is: sealed outputs open with the submitter's key only."""
    sealed = [output for output in jobs.outputs(job.id) if output.sealed]
    if not sealed:
        return ""
    lines = []
    if jobs.get(job.id).state is JobState.SUCCEEDED:
        get = f"`fedgate job result {job.id}` fetches and opens everything"
        lines.append(f"sealed to your key: {get}\n")
    if any(output.kind is OutputKind.LOG for output in sealed):
        lines.append(
            f"what the ServerApp printed, and why anything failed: `fedgate job logs {job.id}`\n"
        )
    return "".join(lines)


def _final(event: EventRecord) -> bool:
    return event.kind == STATE_EVENT and JobState(event.data["state"]).final
