"""Requests that the gateway signs, for what comes in by a door inside it.

Nobody but the gateway's user knows what was asked for there; the signature says which gateway
claims it, in the name of which token, and a project that does not list this gateway's key takes
none of them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.bundle import digest_of
from fedgate.front_door import Order
from fedgate_gateway.control.records import SubmitOptions
from fedgate_gateway.governance import JobRequest, sign_request
from fedgate_gateway.link.terms import fingerprint

#: How long such a request may wait to be run.
VALID_SECONDS = 7 * 86400


def sign_own(
    key: Ed25519PrivateKey,
    archive: bytes,
    order: Order,
    *,
    submitter: str,
    recipient: bytes | None,
    clock: Callable[[], float] = time.time,
) -> SubmitOptions:
    """``order`` names its project; raises :class:`~fedgate.errors.InvalidMessage` for nonsense."""
    now = int(clock())
    request = JobRequest(
        project=order.project,
        bundle=digest_of(archive),
        name="",
        submitter=submitter,
        sites=order.sites,
        datasets=order.datasets,
        min_sites=order.min_sites,
        config=order.config,
        task_seconds=order.task_seconds,
        recipient=fingerprint(recipient) if recipient is not None else "",
        created=now,
        expires=now + VALID_SECONDS,
        nonce=secrets.token_hex(16),
    )
    return SubmitOptions(sign_request(request, key), recipient)
