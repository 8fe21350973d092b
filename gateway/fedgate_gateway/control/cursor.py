"""Cursors of job listings: opaque to clients, strict to us."""

from __future__ import annotations

import base64
import binascii
import re

from fedgate.errors import InvalidMessage
from fedgate_gateway.control.ids import JOB_ID

_PREFIX = b"j1:"


def encode_cursor(last_job: str) -> str:
    """The cursor that continues after ``last_job``."""
    return base64.urlsafe_b64encode(_PREFIX + last_job.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The inverse of :func:`encode_cursor`; raises :class:`InvalidMessage` for anything else."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        job = raw.removeprefix(_PREFIX).decode("ascii")
    except (binascii.Error, ValueError):
        raw, job = b"", ""
    if len(cursor) > 64 or not re.fullmatch(JOB_ID, job) or encode_cursor(job) != cursor:
        raise InvalidMessage(
            "the cursor is not one of ours",
            why="it was altered, or comes from another listing",
            remedy="use next_cursor of the page before as it is, or start without a cursor",
        )
    return job
