"""What the front office adds to the REST API: recipient keys, logins by token, downloads."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from fedgate.errors import InvalidMessage, Unauthenticated
from fedgate_gateway.api.access import JobWriter
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.control.jobs import JobService
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import JobRecord, Output
from fedgate_gateway.front.desk import OUTPUTS
from fedgate_gateway.front.logins import ACCESS_SECONDS
from fedgate_gateway.front.office import Office
from fedgate_gateway.front.parcel import parcel

router = APIRouter(tags=["front doors"])


def _office(request: Request) -> Office:
    office = request.app.state.office
    assert isinstance(office, Office)
    return office


FrontOffice = Annotated[Office, Depends(_office)]


class RecipientBody(BaseModel):
    """A key that sealed outputs of this token's jobs open with."""

    model_config = ConfigDict(extra="forbid", strict=True)

    public_key: str = Field(max_length=2048, description="base64 of an X-Wing key, 1216 bytes")


class RecipientView(BaseModel):
    fingerprint: str = Field(description="`sha256:<hex>`, as the project's file must list it")


class LoginView(BaseModel):
    """What a command keeps in order to act in the token's name."""

    access_token: str
    refresh_token: str
    expires_in: int = Field(description="seconds that the access token counts")


@router.put(f"{PREFIX}/recipient", operation_id="setRecipient", responses=responses(400))
def set_recipient(office: FrontOffice, principal: JobWriter, body: RecipientBody) -> RecipientView:
    """Seal outputs to this key when a job of this token comes by a command that names none."""
    try:
        key = base64.b64decode(body.public_key, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidMessage("the recipient's key is not base64") from None
    return RecipientView(fingerprint=office.recipients.register(principal, key))


@router.post(f"{PREFIX}/logins", operation_id="openLogin", status_code=201, responses=responses())
def open_login(office: FrontOffice, principal: JobWriter) -> LoginView:
    """Tokens for a framework's own command; they can submit, see and cancel jobs, and no more."""
    pair = office.logins.open(principal, way="token")
    return LoginView(
        access_token=pair.access, refresh_token=pair.refresh, expires_in=int(ACCESS_SECONDS)
    )


@router.get(f"{OUTPUTS}/{{ticket}}/{{name}}", include_in_schema=False)
async def download_outputs(
    office: FrontOffice,
    ticket: Annotated[str, Path(max_length=128)],
    name: Annotated[str, Path(max_length=64)],
) -> StreamingResponse:
    """Everything a job released, by a link that needs no token for ten minutes."""
    job, outputs = await run_in_threadpool(_released, office, ticket, name)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.zip"'}
    pieces = parcel(office.state.objects, job, outputs)
    return StreamingResponse(pieces, media_type="application/zip", headers=headers)


def _released(office: Office, ticket: str, name: str) -> tuple[JobRecord, list[Output]]:
    """The ticket stands for a token, which must still count and see the job."""
    job_id, token = office.tickets.read(ticket)
    if name != f"{job_id}.zip":
        raise Unauthenticated("this link is not one of ours")
    principal = office.state.tokens.principal(token)
    principal.require(Scope.JOBS_READ)
    jobs: JobService = office.state.jobs
    return jobs.get(job_id, principal), list(jobs.outputs(job_id))
