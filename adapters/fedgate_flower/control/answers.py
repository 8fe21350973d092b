"""Failures as the ``flwr`` command understands them: a status, and JSON with a sentence.

The command prints ``[code: 16] <detail>``. The numbers are Flower's own where it has one that fits
(``flwr/supercore/error/base.py``).
"""

from __future__ import annotations

import logging
import secrets

from starlette.responses import JSONResponse

from fedgate.errors import (
    BundleTooLarge,
    Conflict,
    Denied,
    FedgateError,
    InvalidBundle,
    InvalidConfig,
    InvalidMessage,
    InvalidTransition,
    NotFound,
    Unauthenticated,
)

_log = logging.getLogger(__name__)
FORBIDDEN, NOT_CREATED, INVALID_CONFIG, RUN_NOT_FOUND = 10, 14, 15, 16
RUN_FINISHED, RUN_UNFINISHED, OTHER = 18, 21, 1000
_CODES: tuple[tuple[type[FedgateError], int], ...] = (
    (Denied, FORBIDDEN),
    (BundleTooLarge, NOT_CREATED),
    (InvalidBundle, NOT_CREATED),
    (InvalidMessage, INVALID_CONFIG),
    (InvalidConfig, INVALID_CONFIG),
    (NotFound, RUN_NOT_FOUND),
    (InvalidTransition, RUN_FINISHED),
    (Conflict, RUN_UNFINISHED),
)


def refusal(error: FedgateError) -> JSONResponse:
    if isinstance(error, Unauthenticated):
        # Exactly this header makes the command try its refresh token; without a code in the body
        # it says by itself that one has to log in.
        challenge = {"WWW-Authenticate": "Bearer"}
        return JSONResponse({"detail": str(error)}, error.status, headers=challenge)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), OTHER)
    return JSONResponse({"code": code, "detail": str(error)}, error.status)


def incident(error: Exception, path: str) -> JSONResponse:
    """What went wrong stays in the gateway's log."""
    number = secrets.token_hex(4)
    _log.error("incident %s: %s", number, path, exc_info=error)
    return plain(
        500,
        "something unexpected went wrong in the gateway; "
        f"tell its administrator the number of this incident: {number}",
    )


def plain(status: int, detail: str) -> JSONResponse:
    """For requests that no ``flwr`` sends."""
    return JSONResponse({"code": OTHER, "detail": detail}, status)
