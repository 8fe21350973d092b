"""Bearer tokens of the API: ``fgt_`` and 32 random bytes, stored as their SHA-256 only."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from fedgate.errors import Conflict, InvalidMessage, NotFound, Unauthenticated
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.open_calls import SERVING, OpenCalls
from fedgate_gateway.pki.private_files import write_private
from fedgate_gateway.store import Database
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import TokenRow

_FORM = re.compile(r"fgt_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


@dataclass(frozen=True)
class TokenRecord:
    """What is known of a token; never the token."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    projects: tuple[str, ...] | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None


class Tokens:
    """Makes, checks and revokes tokens. Quick and thread-safe."""

    def __init__(
        self, database: Database, audit: AuditSink, calls: OpenCalls | None = None
    ) -> None:
        """``calls``: what is open ends with the token that it was admitted with."""
        self._database = database
        self._audit = audit
        self._calls = calls or OpenCalls()

    def authenticate(self, text: str) -> Principal:
        """Whose token this is; raises :class:`Unauthenticated`."""
        digest = _hash(text) if _FORM.fullmatch(text) else b""
        with self._database.read() as session:
            row = session.scalar(select(TokenRow).where(TokenRow.hash == digest))
        # The index looks up a hash, which tells an attacker's clock nothing about the token; the
        # comparison in constant time holds whatever the database compares by.
        if row is None or not hmac.compare_digest(row.hash, digest):
            raise _invalid()
        return self._admit(row)

    def principal(self, token_id: str) -> Principal:
        """Whoever a token stands for, if it still counts; raises :class:`Unauthenticated`."""
        with self._database.read() as session:
            row = session.get(TokenRow, token_id)
        if row is None:
            raise _invalid()
        return self._admit(row)

    def _admit(self, row: TokenRow) -> Principal:
        who, call = _principal(row), SERVING.get()
        if call is None or call.holder == row.id:
            return who
        self._calls.join(row.id, call)
        if row.expires is not None:
            call.end(after=(row.expires - utc_now()).total_seconds())
        with self._database.read() as session:  # it may have been revoked since we looked
            return _principal(session.get_one(TokenRow, row.id))

    def create(
        self,
        name: str,
        scopes: Collection[Scope],
        *,
        projects: Collection[str] | None = None,
        expires: datetime | None = None,
        actor: str = "gateway",
    ) -> tuple[str, TokenRecord]:
        """A new token and its record; the token itself is never seen again."""
        if not _NAME.fullmatch(name) or not scopes:
            raise InvalidMessage("a token needs a name and at least one scope")
        if expires is not None and expires <= utc_now():
            raise InvalidMessage("a token cannot expire before it is made")
        text = "fgt_" + secrets.token_urlsafe(32)
        with self._database.write() as session:
            row = _add(session, text, name, scopes, projects=projects, expires=expires)
            told = {"id": row.id, "name": name, "scopes": row.scopes, "projects": row.projects}
            self._audit.append("token.created", told, actor=actor, session=session)
            return text, _record(row)

    def list(self) -> Sequence[TokenRecord]:
        with self._database.read() as session:
            query = select(TokenRow).order_by(TokenRow.created, TokenRow.id)
            return [_record(row) for row in session.scalars(query)]

    def revoke(self, token_id: str, *, actor: str) -> None:
        """Make a token worthless from now on.

        Raises :class:`NotFound`, and :class:`Conflict` for the last token of an administrator:
        nobody could make another.
        """
        with self._database.write() as session:
            row = session.get(TokenRow, token_id)
            if row is None or row.revoked is not None:
                raise NotFound(f"there is no token {token_id[:64]!r}")
            if _administers(row) and not _others_administer(session, row):
                raise Conflict(
                    "this is the last token of an administrator",
                    why="without one nobody can make tokens, or let peers in",
                    remedy="make another with the scope `admin` that does not expire, then revoke",
                )
            row.revoked = utc_now()
            session.flush()
            told = {"id": token_id, "name": row.name}
            self._audit.append("token.revoked", told, actor=actor, session=session)
        self._calls.end(token_id)

    def bootstrap(self, file: Path) -> bool:
        """On first start, make an administrator's token and leave it in ``file`` (0600).

        Does nothing, and returns False, once any token was ever made.
        """
        with self._database.write() as session:
            if session.scalar(select(TokenRow.id).limit(1)) is not None:
                return False
            self._admin_token(session, file)
            return True

    def recover(self, file: Path) -> None:
        """Another administrator's token, in ``file`` (0600), for whoever can write the database."""
        with self._database.write() as session:
            self._admin_token(session, file)

    def _admin_token(self, session: Session, file: Path) -> None:
        text = "fgt_" + secrets.token_urlsafe(32)
        # The file first: a start that dies here is repeated, one that committed is not.
        write_private(file, text.encode() + b"\n")
        row = _add(session, text, "admin", [Scope.ADMIN], projects=None, expires=None)
        told = {"id": row.id, "name": row.name, "scopes": row.scopes, "projects": None}
        self._audit.append("token.created", told, actor="gateway", session=session)


def _administers(row: TokenRow) -> bool:
    return Scope.ADMIN.value in row.scopes and row.projects is None


def _others_administer(session: Session, but: TokenRow) -> bool:
    """Only those that never expire count: the others go by themselves."""
    live = select(TokenRow).where(
        TokenRow.id != but.id, TokenRow.revoked.is_(None), TokenRow.expires.is_(None)
    )
    return any(_administers(row) for row in session.scalars(live))


def _principal(row: TokenRow) -> Principal:
    if row.revoked is not None:
        raise _invalid()
    if row.expires is not None and row.expires <= utc_now():
        raise Unauthenticated(
            "the token has expired", remedy="ask the gateway's administrator for a new one"
        )
    projects = None if row.projects is None else frozenset(row.projects)
    return Principal(row.name, row.id, frozenset(Scope(s) for s in row.scopes), projects)


def _invalid() -> Unauthenticated:
    return Unauthenticated(
        "the token is not valid", remedy="ask the gateway's administrator for one"
    )


def _add(
    session: Session,
    text: str,
    name: str,
    scopes: Collection[Scope],
    *,
    projects: Collection[str] | None,
    expires: datetime | None,
) -> TokenRow:
    row = TokenRow(
        id="tok-" + secrets.token_hex(6),
        name=name,
        hash=_hash(text),
        scopes=sorted({scope.value for scope in scopes}),
        projects=None if projects is None else sorted(set(projects)),
        created=utc_now(),
        expires=expires,
        revoked=None,
    )
    session.add(row)
    session.flush()
    return row


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _record(row: TokenRow) -> TokenRecord:
    return TokenRecord(
        id=row.id,
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        projects=None if row.projects is None else tuple(row.projects),
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
    )
