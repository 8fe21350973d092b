"""Links that lead back to this gateway, and tickets that stand for a token in them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from fedgate.errors import Unauthenticated
from fedgate.front_door import Asker
from fedgate_gateway.config import GatewayConfig
from fedgate_gateway.store.base import utc_now

TICKET_SECONDS = 600
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_TICKET = re.compile(
    r"(?P<job>job-[0-9a-z]{12})\.(?P<token>tok-[0-9a-f]{12})\.(?P<until>[0-9]{1,12})"
    r"\.(?P<mac>[A-Za-z0-9_-]{43})"
)


def base_url(config: GatewayConfig, asker: Asker) -> str:
    """``https://host:port`` as the asker sees this gateway.

    A Host header is repeated only when it names a host of the gateway's certificate: a client that
    checked the certificate cannot have used another.
    """
    match = _HOST.fullmatch(asker.host)
    if match is not None and match["name"].strip("[]").lower() in config.hostnames:
        return f"https://{asker.host}"
    name = config.hostnames[0] if config.hostnames else config.api.host
    return f"https://{f'[{name}]' if ':' in name else name}:{config.api.port}"


class Tickets:
    """Each opens one job's outputs for one token, for ten minutes.

    The key dies with the process; whoever holds a ticket of an earlier one asks again.
    """

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock

    def make(self, job: str, token: str) -> str:
        until = self._clock() + timedelta(seconds=TICKET_SECONDS)
        text = f"{job}.{token}.{int(until.timestamp())}"
        return f"{text}.{self._mac(text)}"

    def read(self, ticket: str) -> tuple[str, str]:
        """Job and token id; raises :class:`Unauthenticated`."""
        match = _TICKET.fullmatch(ticket)
        if match is None or not hmac.compare_digest(
            self._mac(ticket.rpartition(".")[0]), match["mac"]
        ):
            raise Unauthenticated("this link is not one of ours", remedy=_AGAIN)
        if int(match["until"]) <= self._clock().timestamp():
            raise Unauthenticated("this link has expired", remedy=_AGAIN)
        return match["job"], match["token"]

    def _mac(self, text: str) -> str:
        digest = hmac.digest(
            self._key, b"fedgate outputs ticket v1\0" + text.encode(), hashlib.sha256
        )
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


_AGAIN = "ask for a new one: `flwr pull RUN_ID NAME`"
