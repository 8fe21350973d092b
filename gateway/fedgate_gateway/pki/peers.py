"""Who is enrolled: peers, their certificates, and whether those still count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from cryptography.x509 import Certificate
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from fedgate.errors import Conflict, NotFound, Unauthenticated
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.pki.admitted import Admitted
from fedgate_gateway.pki.names import PeerKind, fingerprint, load_certificate, peer_of
from fedgate_gateway.store import Database
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.database import DatabaseAway
from fedgate_gateway.store.tables import PeerRow

#: Makes a certificate for a peer.
Issue = Callable[[PeerKind, str], Certificate]
#: What one peer may have at a time: the one in use, the next, and one for a mishap.
_MOST_CERTIFICATES = 3


@dataclass(frozen=True)
class Peer:
    kind: PeerKind
    name: str
    fingerprint: str
    #: Raw Ed25519 public key, as the peer proved it when it enrolled.
    identity: bytes
    enrolled: datetime
    expires: datetime
    revoked: datetime | None = None


class Peers:
    """The register of peers. Quick and thread-safe."""

    def __init__(self, database: Database, audit: AuditSink) -> None:
        self._database = database
        self._audit = audit
        self._callbacks: list[Callable[[PeerKind, str], None]] = []
        self._admitted = Admitted()

    def on_revoked(self, callback: Callable[[PeerKind, str], None]) -> None:
        """Call ``callback(kind, name)``, on any thread, once certificates of a peer stop to count.

        That is how the link ends connections that such a certificate opened.
        """
        self._callbacks.append(callback)

    def tell_revoked(self, kind: PeerKind, name: str) -> None:
        for callback in self._callbacks:
            callback(kind, name)

    def admit(self, certificate_pem: bytes) -> Peer:
        """The peer behind a TLS client certificate that our CA issued.

        Raises :class:`Unauthenticated` when it is unknown, revoked, or not a peer's at all.
        """
        kind, name = peer_of(certificate_pem)
        printed, moment = fingerprint(load_certificate(certificate_pem)), self._admitted.moment
        with self._database.read() as session:
            row = session.get(PeerRow, printed)
            if row is None or (row.kind, row.name) != (kind, name):
                raise Unauthenticated(f"{kind} {name!r} is not enrolled with this certificate")
            if row.revoked is not None or row.expires <= utc_now():
                raise Unauthenticated(
                    f"the certificate of {kind} {name!r} no longer counts",
                    why="it expired" if row.revoked is None else "it was revoked or replaced",
                    remedy="enrol again with a fresh token",
                )
            peer = _peer(row)
        self._admitted.remember(peer, moment)
        return peer

    def admit_again(self, certificate_pem: bytes) -> Peer:
        """The same for what carries a job: while the database is away, by its last word."""
        try:
            return self.admit(certificate_pem)
        except DatabaseAway:
            known = self._admitted.find(fingerprint(load_certificate(certificate_pem)))
            if known is None or known.expires <= utc_now():
                raise
            return known

    @contextmanager
    def revoking(self) -> Iterator[None]:
        """Around each change after which a certificate may count no more, however it ends."""
        try:
            yield
        finally:
            self._admitted.forget()

    def is_revoked(self, kind: str, name: str, certificate_fingerprint: str) -> bool:
        """True unless exactly this certificate is enrolled for this peer and not revoked."""
        with self._database.read() as session:
            row = session.get(PeerRow, certificate_fingerprint)
            return row is None or (row.kind, row.name) != (kind, name) or row.revoked is not None

    def list(self, kind: PeerKind | None = None) -> Sequence[Peer]:
        """Peers that are enrolled and not revoked, by kind and name, each once: as it is by the
        certificate that counts longest.
        """
        query = select(PeerRow).where(PeerRow.revoked.is_(None))
        if kind is not None:
            query = query.where(PeerRow.kind == kind)
        with self._database.read() as session:
            found = session.scalars(query.order_by(PeerRow.kind, PeerRow.name, PeerRow.expires))
            return list({(row.kind, row.name): _peer(row) for row in found}.values())

    def revoke(self, kind: PeerKind, name: str, *, actor: str) -> None:
        """Make all certificates of a peer worthless from now on. Raises :class:`NotFound`."""
        with self.revoking(), self._database.write() as session:
            if not revoke_rows(session, kind, name):
                raise NotFound(f"no {kind} {name[:80]!r} is enrolled")
            told = {"kind": kind.value, "name": name}
            self._audit.append("peer.revoked", told, actor=actor, session=session)
        self.tell_revoked(kind, name)

    def renew(self, certificate_pem: bytes, issue: Issue) -> Certificate:
        """Another certificate for the peer that holds this one, which goes on to count.

        Raises :class:`Unauthenticated` as :meth:`admit` does, and :class:`Conflict` for a peer
        that has more than a few already.
        """
        peer = self.admit(certificate_pem)
        live = select(func.count()).where(
            PeerRow.kind == peer.kind,
            PeerRow.name == peer.name,
            PeerRow.revoked.is_(None),
            PeerRow.expires > utc_now(),
        )
        with self._database.write() as session:
            if (session.scalar(live) or 0) >= _MOST_CERTIFICATES:
                raise Conflict(
                    f"{peer.kind} {peer.name!r} has {_MOST_CERTIFICATES} certificates that count",
                    remedy="use the newest one",
                )
            certificate = issue(peer.kind, peer.name)
            _insert(session, peer.kind, peer.name, certificate, peer.identity)
            told = {
                "kind": peer.kind.value, "name": peer.name,
                "certificate": fingerprint(certificate),
            }  # fmt: skip
            self._audit.append("peer.renewed", told, actor=peer.name, session=session)
        return certificate


def revoke_everybody(database: Database, audit: AuditSink) -> int:
    """All certificates stop to count, as when their CA is gone for good; returns how many did."""
    live = update(PeerRow).where(PeerRow.revoked.is_(None)).values(revoked=utc_now())
    with database.write() as session:
        revoked = session.execute(live.returning(PeerRow.kind, PeerRow.name)).all()
        for kind, name in revoked:
            told = {"kind": kind, "name": name}
            audit.append("peer.revoked", told, actor="gateway", session=session)
    return len(revoked)


def add_row(
    session: Session, kind: PeerKind, name: str, certificate: Certificate, identity: bytes
) -> Peer:
    """Enrol a certificate; those that the peer had before stop to count."""
    revoke_rows(session, kind, name)
    return _insert(session, kind, name, certificate, identity)


def _insert(
    session: Session, kind: PeerKind, name: str, certificate: Certificate, identity: bytes
) -> Peer:
    row = PeerRow(
        fingerprint=fingerprint(certificate),
        kind=kind.value,
        name=name,
        serial=f"{certificate.serial_number:x}",
        identity=identity,
        enrolled=utc_now(),
        expires=certificate.not_valid_after_utc,
        revoked=None,
    )
    session.add(row)
    session.flush()
    return _peer(row)


def revoke_rows(session: Session, kind: PeerKind, name: str) -> bool:
    """True if there was something to revoke."""
    mine = update(PeerRow).where(
        PeerRow.kind == kind.value, PeerRow.name == name, PeerRow.revoked.is_(None)
    )
    revoked = session.execute(mine.values(revoked=utc_now()).returning(PeerRow.fingerprint))
    return bool(revoked.all())


def _peer(row: PeerRow) -> Peer:
    return Peer(
        kind=PeerKind(row.kind),
        name=row.name,
        fingerprint=row.fingerprint,
        identity=row.identity,
        enrolled=row.enrolled,
        expires=row.expires,
        revoked=row.revoked,
    )
