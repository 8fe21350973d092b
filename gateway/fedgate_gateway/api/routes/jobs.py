"""Submitting, listing, showing and cancelling jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from fedgate.job import JobState
from fedgate_gateway.api.access import Gateway, JobReader, JobWriter
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.api.upload import REQUEST_BODY, read_submission
from fedgate_gateway.api.views import (
    AvailabilityView,
    BundleView,
    JobDetail,
    JobPageView,
    JobView,
    RefusedFrameView,
    SiteView,
)
from fedgate_gateway.control.availability import availability, decided
from fedgate_gateway.control.ids import JOB_ID
from fedgate_gateway.control.jobs import MAX_PAGE
from fedgate_gateway.control.records import FRAME_REFUSED_EVENT, JobFilter

router = APIRouter(prefix=PREFIX, tags=["jobs"])
JobId = Annotated[str, Path(pattern=JOB_ID, description="as `job-0vv41dq75y29`")]


@router.post(
    "/jobs",
    operation_id="submitJob",
    status_code=201,
    responses=responses(400, 404, 408, 409, 413, 429, 503),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def submit_job(
    request: Request,
    response: Response,
    state: Gateway,
    principal: JobWriter,
    idempotency_key: Annotated[
        str,
        Header(max_length=255, description="the same key and request give the same job"),
    ] = "",
) -> JobView:
    """Submit a workload: it is checked completely before anything is stored."""
    archive, form = await read_submission(request, state.config.limits.bundle_bytes)
    job = await state.jobs.submit(archive, form.options(idempotency_key), principal)
    response.headers["Location"] = f"{request.url.path}/{job.id}"
    return JobView.of(job)


@router.get("/jobs", operation_id="listJobs", responses=responses(400))
def list_jobs(
    state: Gateway,
    principal: JobReader,
    *,
    cursor: Annotated[
        str | None, Query(max_length=64, description="`next_cursor` of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    project: Annotated[str | None, Query(max_length=63)] = None,
    job_state: Annotated[JobState | None, Query(alias="state")] = None,
    framework: Annotated[str | None, Query(max_length=64)] = None,
    submitter: Annotated[str | None, Query(max_length=128)] = None,
) -> JobPageView:
    """Jobs of the token's projects, newest first."""
    filters = JobFilter(project, job_state, framework, submitter)
    page = state.jobs.list(cursor, limit, filters, principal)
    return JobPageView(jobs=[JobView.of(job) for job in page.jobs], next_cursor=page.next_cursor)


@router.get("/jobs/{job_id}", operation_id="getJob", responses=responses(404))
def get_job(state: Gateway, principal: JobReader, job_id: JobId) -> JobDetail:
    """A job, what its data owners decided, and what its bundle says about itself."""
    job = state.jobs.get(job_id, principal)
    return JobDetail(
        job=JobView.of(job),
        sites=[SiteView.of(site) for site in state.jobs.job_sites(job_id)],
        bundle=BundleView.of(state.jobs.bundle(job.bundle)),
        refused_frames=RefusedFrameView.all_of(
            state.jobs.events(job_id, kind=FRAME_REFUSED_EVENT, limit=1000)
        ),
        clear=list(state.jobs.in_clear(job_id)),
    )


@router.get(
    "/jobs/{job_id}/availability", operation_id="getJobAvailability", responses=responses(404)
)
async def get_availability(
    state: Gateway,
    principal: JobReader,
    job_id: JobId,
    wait: Annotated[
        float, Query(ge=0, le=10, description="seconds that linked sites may take to answer")
    ] = 0.0,
) -> AvailabilityView:
    """Which of the job's sites are linked and have what it needs, and when it goes on without the
    rest.
    """
    await run_in_threadpool(state.jobs.get, job_id, principal)
    await decided(state.jobs, job_id, state.site_offer, seconds=wait)
    job = await run_in_threadpool(state.jobs.get, job_id, principal)
    sites = tuple(await run_in_threadpool(state.jobs.job_sites, job_id))
    bundle = await run_in_threadpool(state.jobs.bundle, job.bundle)
    found = availability(
        job,
        sites,
        state.site_offer,
        enclave=state.runs_framework(job.framework),
        mandatory=bundle.manifest.mandatory,
    )
    return AvailabilityView.of(job, found)


@router.get(
    "/jobs/{job_id}/bundle",
    operation_id="getJobBundle",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, **responses(404, 429, 503)},
)
async def get_bundle(state: Gateway, principal: JobReader, job_id: JobId) -> Response:
    """The archive that was submitted, for reviewers."""
    state.shares.expensive(principal.token)
    job = await run_in_threadpool(state.jobs.get, job_id, principal)
    archive = await state.jobs.bundle_archive(job.bundle)
    return Response(archive, media_type="application/zip")


@router.post("/jobs/{job_id}/cancel", operation_id="cancelJob", responses=responses(404, 409))
def cancel_job(state: Gateway, principal: JobWriter, job_id: JobId) -> JobView:
    """Cancel a job that has not ended; cancelling it again changes nothing."""
    return JobView.of(state.jobs.cancel(job_id, principal))
