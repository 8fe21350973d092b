"""The embedded login: a person approves a command in the browser with a token of this gateway.

The device authorization grant of RFC 8628, as far as ``flwr login`` uses it. What is under way
lives in memory: a login that a restart interrupts is begun again.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fedgate.errors import Denied, NotFound, Unauthenticated, Unavailable
from fedgate.front_door import Asker, DeviceLogin
from fedgate.front_door import Tokens as Pair
from fedgate_gateway.config import GatewayConfig
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.tokens import Tokens
from fedgate_gateway.front.links import base_url
from fedgate_gateway.front.logins import Logins
from fedgate_gateway.store.base import utc_now

PAGE = "/login/device"
_SECONDS = 600
_INTERVAL = 2
#: Consonants only (RFC 8628, 6.1): no words, nothing to mistake for something else.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_MOST, _MOST_OF_ONE_ADDRESS = 1024, 16
_WRONG_TOKENS = 5


@dataclass
class Pending:
    """A login that somebody began."""

    user_code: str
    address: str
    until: datetime
    wrong_tokens: int = 0
    approved: Principal | None = field(default=None)
    denied: bool = False


class EmbeddedLogin:
    """:class:`fedgate.front_door.Login` over the gateway's own tokens. Thread-safe."""

    def __init__(
        self,
        config: GatewayConfig,
        tokens: Tokens,
        logins: Logins,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._logins = logins
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: dict[str, Pending] = {}  # by device code

    async def begin(self, asker: Asker) -> DeviceLogin:
        code = "".join(secrets.choice(_LETTERS) for _ in range(8))
        user_code = f"{code[:4]}-{code[4:]}"
        device_code = secrets.token_urlsafe(32)
        until = self._clock() + timedelta(seconds=_SECONDS)
        with self._lock:
            self._forget_old()
            same = sum(p.address == asker.address for p in self._pending.values())
            if len(self._pending) >= _MOST or same >= _MOST_OF_ONE_ADDRESS:
                raise Unavailable(
                    "too many logins are under way",
                    why="each waits ten minutes for its answer",
                    remedy="try again in some minutes",
                )
            self._pending[device_code] = Pending(user_code, asker.address, until)
        url = f"{base_url(self._config, asker)}{PAGE}?code={user_code}"
        return DeviceLogin(device_code, url, _SECONDS, _INTERVAL)

    async def poll(self, device_code: str) -> Pair | None:
        with self._lock:
            self._forget_old()
            pending = self._pending.get(device_code)
            if pending is None:
                raise Unauthenticated("this login is void", remedy="run `flwr login` again")
            if pending.approved is None and not pending.denied:
                return None
            del self._pending[device_code]  # whatever the answer, it is given once
        if pending.approved is None:
            raise Denied("the login was refused", why="somebody said so in the browser")
        return await asyncio.to_thread(self._logins.open, pending.approved, way="device")

    async def refresh(self, refresh_token: str) -> Pair:
        return await asyncio.to_thread(self._logins.refresh, refresh_token)

    # -- what the page needs -----------------------------------------------------------------------

    def waiting(self, user_code: str) -> Pending:
        """The login with this code that nobody has answered; raises :class:`NotFound`."""
        with self._lock:
            return self._find(user_code)

    def approve(self, user_code: str, token: str) -> Principal:
        """Let the command act in the name of ``token``.

        Raises :class:`Unauthenticated` and :class:`Denied` for tokens that cannot; after some of
        those the login is void.
        """
        self.waiting(user_code)
        try:
            principal = self._tokens.authenticate(token)
            principal.require(Scope.JOBS_READ)
        except (Unauthenticated, Denied):
            with self._lock:
                pending = self._find(user_code)
                pending.wrong_tokens += 1
                pending.denied = pending.wrong_tokens >= _WRONG_TOKENS
            raise
        with self._lock:
            self._find(user_code).approved = principal
        return principal

    def deny(self, user_code: str) -> None:
        with self._lock:
            self._find(user_code).denied = True

    def _find(self, user_code: str) -> Pending:
        self._forget_old()
        for pending in self._pending.values():
            open_still = pending.approved is None and not pending.denied
            if open_still and secrets.compare_digest(
                pending.user_code.encode(), user_code.encode()
            ):
                return pending
        raise NotFound(
            "no login waits for this code",
            why="it was answered, it is older than ten minutes, or it was never given out",
            remedy="run `flwr login` again",
        )

    def _forget_old(self) -> None:
        now = self._clock()
        for code in [code for code, p in self._pending.items() if p.until <= now]:
            del self._pending[code]
