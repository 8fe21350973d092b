"""What jobs released: models, artifacts, logs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from fedgate.errors import Conflict, NotFound
from fedgate_gateway.api.access import Gateway, JobReader
from fedgate_gateway.api.downloads import download
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.api.routes.jobs import JobId
from fedgate_gateway.api.views import OutputsView, OutputView
from fedgate_gateway.control.records import OutputKind

router = APIRouter(prefix=PREFIX, tags=["outputs"])
_STRING = {"schema": {"type": "string"}}
_BINARY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the stored bytes, sealed or not",
        "content": {"application/octet-stream": {}},
        "headers": {
            "Repr-Digest": {"description": "SHA-256 of the bytes, RFC 9530", **_STRING},
            "Fedgate-Sealed": {"description": "`true` if encrypted to the submitter", **_STRING},
        },
    }
}


@router.get("/jobs/{job_id}/outputs", operation_id="listOutputs", responses=responses(404))
def list_outputs(state: Gateway, principal: JobReader, job_id: JobId) -> OutputsView:
    """Everything that a job released so far."""
    state.jobs.get(job_id, principal)
    return OutputsView(outputs=[OutputView.of(found) for found in state.jobs.outputs(job_id)])


@router.get(
    "/jobs/{job_id}/outputs/{name}",
    operation_id="getOutput",
    response_class=StreamingResponse,
    responses={**_BINARY, **responses(404, 429, 503)},
)
async def get_output(
    state: Gateway,
    principal: JobReader,
    job_id: JobId,
    name: Annotated[str, Path(max_length=128)],
) -> StreamingResponse:
    """One output, as stored."""
    state.shares.expensive(principal.token)
    await run_in_threadpool(state.jobs.get, job_id, principal)
    for output in await run_in_threadpool(state.jobs.outputs, job_id):
        if output.name == name:
            return await download(state.objects, output)
    raise NotFound(f"{job_id} has no output {name!r}", remedy="see `fedgate job result`")


@router.get(
    "/jobs/{job_id}/result",
    operation_id="getResult",
    response_class=StreamingResponse,
    responses={**_BINARY, **responses(404, 409, 429, 503)},
)
async def get_result(state: Gateway, principal: JobReader, job_id: JobId) -> StreamingResponse:
    """The released model of a job that has ended."""
    state.shares.expensive(principal.token)
    job = await run_in_threadpool(state.jobs.get, job_id, principal)
    if not job.state.final:
        raise Conflict(
            f"{job_id} has no result yet",
            why=f"it is {job.state}",
            remedy="wait for it with `fedgate job submit --wait` or GET …/events",
        )
    outputs = await run_in_threadpool(state.jobs.outputs, job_id)
    models = [output for output in outputs if output.kind is OutputKind.MODEL]
    if not models:
        raise NotFound(
            f"{job_id} released no model",
            why=f"it is {job.state}" + (f": {job.reason}" if job.reason else ""),
            remedy="see its log and its other outputs",
        )
    return await download(state.objects, models[-1])
