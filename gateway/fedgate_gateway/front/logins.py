"""Logins: a command acts in a token's name, with less than the token's rights.

A login lives in the database by the hash of its refresh token. Its access tokens live in memory
for a quarter of an hour; after a restart of the gateway commands refresh theirs. The refresh token
is not replaced when it is used: ``flwr`` commands that run at the same time share one, without a
lock. A login ends with its token, whatever its own time.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fedgate.errors import Unauthenticated
from fedgate.front_door import Tokens as Pair
from fedgate_gateway.audit.log import AuditLog
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.tokens import Tokens
from fedgate_gateway.front.tables import LoginRow
from fedgate_gateway.store import Database
from fedgate_gateway.store.base import utc_now

ACCESS_SECONDS = 15 * 60.0
LOGIN_SECONDS = 30 * 86400.0
#: A login may do this much, if its token may; never administer.
_SCOPES = frozenset({Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.SITES_READ})
_MOST_LOGINS = 32  # of one token
_MOST_ACCESS = 10_000
_ACCESS, _REFRESH = re.compile(r"fga_[A-Za-z0-9_-]{43}"), re.compile(r"fgr_[A-Za-z0-9_-]{43}")


class Logins:
    """Opens, renews and recognises logins. Thread-safe."""

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        audit: AuditLog,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        #: Hash of an access token -> login, until when. Oldest first.
        self._access: dict[bytes, tuple[str, datetime]] = {}

    def open(self, principal: Principal, *, way: str) -> Pair:
        """A new login for the token of ``principal``; ``way`` says in the audit log how."""
        refresh = "fgr_" + secrets.token_urlsafe(32)
        now = self._clock()
        row = LoginRow(
            id="log-" + secrets.token_hex(6),
            token=principal.token,
            refresh_hash=_hash(refresh),
            created=now,
            expires=now + timedelta(seconds=LOGIN_SECONDS),
            revoked=None,
        )
        with self._database.write() as session:
            self._make_room(session, principal.token, now)
            session.add(row)
            session.flush()
            told = {"id": row.id, "token": principal.token, "way": way}
            self._audit.append("login.opened", told, actor=principal.name, session=session)
        return Pair(self._issue(row.id), refresh)

    def refresh(self, refresh: str) -> Pair:
        """A new access token; raises :class:`Unauthenticated` when the login is over."""
        digest = _hash(refresh) if _REFRESH.fullmatch(refresh) else b""
        with self._database.read() as session:
            row = session.scalar(select(LoginRow).where(LoginRow.refresh_hash == digest))
        self._check(row)
        assert row is not None
        return Pair(self._issue(row.id), refresh)

    def principal(self, access: str) -> Principal:
        """Who acts with this access token; raises :class:`Unauthenticated`."""
        digest = _hash(access) if _ACCESS.fullmatch(access) else b""
        with self._lock:
            login, until = self._access.get(digest, ("", None))
        if until is None or until <= self._clock():
            raise Unauthenticated("the access token is not valid any more", remedy=_AGAIN)
        with self._database.read() as session:
            row = session.get(LoginRow, login)
        return self._check(row)

    def _check(self, row: LoginRow | None) -> Principal:
        """Whoever a login stands for right now: its token may have lost rights, or its life."""
        if row is None or row.revoked is not None or row.expires <= self._clock():
            raise Unauthenticated("the login is over", remedy=_AGAIN)
        whole = self._tokens.principal(row.token)
        scopes = frozenset(scope for scope in _SCOPES if whole.may(scope))
        return Principal(whole.name, whole.token, scopes, whole.projects)

    def _issue(self, login: str) -> str:
        access = "fga_" + secrets.token_urlsafe(32)
        now = self._clock()
        with self._lock:
            for digest in [d for d, (_, until) in self._access.items() if until <= now]:
                del self._access[digest]
            while len(self._access) >= _MOST_ACCESS:
                del self._access[next(iter(self._access))]
            self._access[_hash(access)] = (login, now + timedelta(seconds=ACCESS_SECONDS))
        return access

    def _make_room(self, session: Session, token: str, now: datetime) -> None:
        """Expired logins go; beyond a number of live ones the oldest make way."""
        session.execute(delete(LoginRow).where(LoginRow.token == token, LoginRow.expires <= now))
        live = session.scalars(
            select(LoginRow).where(LoginRow.token == token, LoginRow.revoked.is_(None))
            .order_by(LoginRow.created)
        ).all()  # fmt: skip
        for row in live[: max(0, len(live) - _MOST_LOGINS + 1)]:
            row.revoked = now
        session.flush()


_AGAIN = "run `flwr login`, or `fedgate flower connect` again"


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
