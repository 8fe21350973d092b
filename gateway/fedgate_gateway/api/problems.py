"""Every failure as a problem document (RFC 9457): what happened, why, and what to do."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from fedgate.errors import FedgateError, LimitReached, Unauthenticated
from fedgate_gateway.store import StoreAway
from fedgate_gateway.store.database import DatabaseAway

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)
#: Outages that say so themselves, once.
_TOLD = (DatabaseAway, StoreAway)


class Problem(BaseModel):
    """A problem document. ``code``, ``what``, ``why`` and ``remedy`` are the error itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:fedgate:problem:not-found",
                "title": "there is no job 'job-0vv41dq75y29'",
                "status": 404,
                "detail": "",
                "instance": "/api/v1/jobs/job-0vv41dq75y29",
                "code": "not-found",
                "what": "there is no job 'job-0vv41dq75y29'",
                "why": "",
                "remedy": "see `fedgate job list`",
            }
        }
    )

    type: str = Field(description="`urn:fedgate:problem:` and the code")
    title: str = Field(description="the same as `what`")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="the same as `why`")
    instance: str = Field(description="the path that was asked for")
    code: str = Field(description="stable and machine readable")
    what: str = Field(description="what happened")
    why: str = Field(description="why it happened, where that is known")
    remedy: str = Field(description="what to do about it, where we know")


def problem(
    request_path: str,
    status: int,
    code: str,
    what: str,
    *,
    why: str = "",
    remedy: str = "",
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A response that carries a problem document."""
    content = {
        "type": f"urn:fedgate:problem:{code}",
        "title": what,
        "status": status,
        "detail": why,
        "instance": request_path,
        "code": code,
        "what": what,
        "why": why,
        "remedy": remedy,
    }
    return JSONResponse(content, status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def problem_of(error: FedgateError, path: str) -> JSONResponse:
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="fedgate"'
    if isinstance(error, LimitReached):
        headers["Retry-After"] = str(error.retry_after)
    return problem(
        path,
        error.status,
        error.code,
        error.what,
        why=error.why,
        remedy=error.remedy,
        headers=headers,
    )


def install(app: FastAPI) -> None:
    """Answer with problem documents, whatever went wrong."""
    app.add_exception_handler(FedgateError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: which statuses come as problem documents, besides 401, 403, 422 and 500."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in sorted({*statuses, 401, 403, 422, 500})
    }


def _asked(request: Request) -> str:
    """The path as the API declares it: what stood in its place is a stranger's text."""
    return str(getattr(request.scope.get("route"), "path", "an unknown path"))


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FedgateError)
    if error.status >= 500 and not isinstance(error, _TOLD):
        _log.warning("%s %s: %s", request.method, _asked(request), error.code)
        _log.debug("%s %s: %s", request.method, _asked(request), error)
    return problem_of(error, request.url.path)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if (stranger := await run_in_threadpool(_stranger, request)) is not None:
        return problem_of(stranger, request.url.path)
    return problem(
        request.url.path,
        422,
        "invalid-request",
        "the request is not valid",
        why=told(error.errors()),
        remedy="see /api/v1/openapi.json for what it must look like",
    )


def _stranger(request: Request) -> FedgateError | None:
    """Who may not call at all hears that first: FastAPI reads a body before it asks who sent it."""
    if not _needs_token(getattr(request.scope.get("route"), "dependant", None)):
        return None
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise Unauthenticated("a token is needed here")
        request.app.state.gateway.tokens.authenticate(token.strip())
    except FedgateError as error:
        return error
    return None


def _needs_token(dependant: Any) -> bool:
    if dependant is None:
        return False
    return isinstance(dependant.call, HTTPBearer) or any(map(_needs_token, dependant.dependencies))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {404: "not-found", 405: "method-not-allowed"}
    return problem(
        request.url.path,
        error.status_code,
        codes.get(error.status_code, "invalid-request"),
        "there is nothing here" if error.status_code == 404 else str(error.detail),
        headers=error.headers,
    )


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    # What went wrong stays in our log; a stranger gets a number to ask about.
    number = secrets.token_hex(4)
    _log.error("incident %s: %s %s", number, request.method, _asked(request), exc_info=error)
    return problem(
        request.url.path,
        500,
        "internal",
        "something unexpected went wrong in the gateway",
        why=f"incident {number}",
        remedy="tell the gateway's administrator this number",
    )


def told(errors: Any) -> str:
    """Pydantic's findings in one line: where, and what is wrong; never the value itself."""
    found = [
        f"{'.'.join(str(part) for part in error['loc']) or 'request'}: {error['msg']}"
        for error in list(errors)[:10]
    ]
    return "; ".join(found)[:2000]
