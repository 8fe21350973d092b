"""Watching a job: progress and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from fedgate.errors import Conflict
from fedgate_gateway.api import sse
from fedgate_gateway.api.access import Gateway, JobReader
from fedgate_gateway.api.downloads import download
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.api.routes.jobs import JobId
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.records import LOG_EVENT, OutputKind

router = APIRouter(prefix=PREFIX, tags=["jobs"])
LastEventId = Annotated[
    str | None, Header(description="id of the last event that was seen; the stream goes on there")
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "the events", "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}}}}
}
_LOG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the log so far, or as it grows",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            sse.MEDIA_TYPE: {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/jobs/{job_id}/events",
    operation_id="watchJob",
    response_class=StreamingResponse,
    responses={**_STREAM, **responses(400, 404, 429)},
)
async def watch_job(
    state: Gateway, principal: JobReader, job_id: JobId, last_event_id: LastEventId = None
) -> StreamingResponse:
    """What happens to a job, as server-sent events; the stream ends after its final state."""
    after = sse.parse_last_event_id(last_event_id)
    await run_in_threadpool(state.jobs.get, job_id, principal)
    state.shares.stream(principal)
    events = sse.stream(state.jobs, job_id, after)
    return StreamingResponse(events, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


@router.get(
    "/jobs/{job_id}/logs",
    operation_id="getJobLogs",
    response_class=Response,
    responses={**_LOG, **responses(400, 404, 409, 429)},
)
async def get_logs(
    request: Request,
    state: Gateway,
    principal: JobReader,
    job_id: JobId,
    last_event_id: LastEventId = None,
) -> Response:
    """The coordinator's log as plain text; as it grows with `Accept: text/event-stream`.

    Where the project seals logs, they are an output to download and open instead.
    """
    await run_in_threadpool(state.jobs.get, job_id, principal)
    if sse.MEDIA_TYPE in request.headers.get("accept", ""):
        after = sse.parse_last_event_id(last_event_id)
        state.shares.stream(principal)
        lines = sse.stream(state.jobs, job_id, after, only=LOG_EVENT)
        return StreamingResponse(lines, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)
    outputs = await run_in_threadpool(state.jobs.outputs, job_id)
    released = [output for output in outputs if output.kind is OutputKind.LOG]
    if released and released[-1].sealed:
        raise Conflict(
            "the log is sealed to the submitter",
            why="the project releases logs sealed",
            remedy=f"download the output {released[-1].name!r} and open it with your key",
        )
    if released:
        return await download(state.objects, released[-1], media_type="text/plain")
    return StreamingResponse(_text(state.jobs, job_id), media_type="text/plain")


async def _text(jobs: JobService, job_id: str) -> AsyncIterator[str]:
    after = 0
    while page := await run_in_threadpool(jobs.events, job_id, after, kind=LOG_EVENT):
        after = page[-1].id
        yield "".join(str(event.data.get("text", "")) for event in page)
