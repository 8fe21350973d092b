"""The gateway's side of enrolling: one-time tokens become client certificates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from secrets import token_hex

from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select, update

from fedgate.errors import Denied, InvalidConfig, InvalidMessage, Unauthenticated
from fedgate_gateway.control.audit_sink import AuditSink
from fedgate_gateway.pki.authority import Authority
from fedgate_gateway.pki.enrolment_token import EnrolmentToken
from fedgate_gateway.pki.names import PeerKind, check_peer
from fedgate_gateway.pki.peers import Peer, Peers, add_row
from fedgate_gateway.pki.proof import check_proof, statement
from fedgate_gateway.store import Database
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import EnrolmentRow

DEFAULT_SECONDS = 3600.0
MAX_SECONDS = 7 * 86400.0
IDENTITY_BYTES, PROOF_BYTES = 32, 64


def open_authority(folder: Path, peers: Peers, *, peer_days: float) -> Authority:
    """The CA in ``folder``; a new one only where nobody is enrolled with an earlier one.

    Raises :class:`InvalidConfig` where peers are: none of them could link any more.
    """
    if not (folder / "ca.key").exists() and not (folder / "ca.pem").exists():
        enrolled = [f"{peer.kind} {peer.name}" for peer in peers.list()]
        if enrolled:
            raise InvalidConfig(
                f"the gateway's CA is gone from {folder}",
                why=f"{len(enrolled)} peers are enrolled with it, as {enrolled[0]}",
                remedy="restore the folder from a backup; or, to go on with a new CA that all "
                "peers enrol at again: `fedgate token recover --config FILE --new-ca`",
            )
    return Authority.open(folder, peer_days=peer_days)


@dataclass(frozen=True)
class EnrolmentRequest:
    """What a new peer sends; see :mod:`fedgate_gateway.pki.proof` for what it signs."""

    token: str
    kind: str
    name: str
    csr_pem: bytes
    identity: bytes
    proof: bytes


@dataclass(frozen=True)
class Invitation:
    """A fresh one-time token; this is the only time it is seen."""

    token: str
    kind: PeerKind
    name: str
    expires: datetime


@dataclass(frozen=True)
class Issued:
    peer: Peer
    certificate_pem: bytes
    ca_pem: bytes


class Enrolments:
    """Invites peers and issues their certificates. Thread-safe."""

    def __init__(
        self, database: Database, authority: Authority, peers: Peers, audit: AuditSink
    ) -> None:
        self._database = database
        self._authority = authority
        self._peers = peers
        self._audit = audit

    def invite(
        self, kind: str, name: str, *, seconds: float = DEFAULT_SECONDS, actor: str = "gateway"
    ) -> Invitation:
        """A token with which ``name`` can enrol once, within ``seconds``."""
        checked = check_peer(kind, name)
        if not 0 < seconds <= MAX_SECONDS:
            raise InvalidMessage(f"an enrolment token lives up to {MAX_SECONDS:.0f} seconds")
        token = EnrolmentToken.new(self._authority.fingerprint)
        now = utc_now()
        row = EnrolmentRow(
            id=token_hex(8),
            hash=token.hash,
            kind=checked.value,
            name=name,
            created=now,
            expires=now + timedelta(seconds=seconds),
            used_at=None,
        )
        with self._database.write() as session:
            session.add(row)
            session.flush()
            told = {"id": row.id, "kind": row.kind, "name": name}
            self._audit.append("peer.invited", told, actor=actor, session=session)
        return Invitation(token.text, checked, name, row.expires)

    def redeem(self, request: EnrolmentRequest) -> Issued:
        """Issue a certificate for a token, once.

        Raises :class:`Unauthenticated` for a token that is unknown, used or expired,
        :class:`Denied` for one that is for somebody else, and :class:`InvalidMessage` for a forged
        certificate request or proof. A request that is refused does not use the token up.
        """
        kind = check_peer(request.kind, request.name)
        token = EnrolmentToken.parse(request.token)
        if len(request.identity) != IDENTITY_BYTES or len(request.proof) != PROOF_BYTES:
            raise InvalidMessage("the identity key or the proof has the wrong length")
        signed = statement(
            request.token, request.kind, request.name, request.csr_pem, request.identity
        )
        with self._peers.revoking(), self._database.write() as session:
            row = session.scalar(select(EnrolmentRow).where(EnrolmentRow.hash == token.hash))
            _check(row, kind, request.name)
            check_proof(request.proof, signed, request.identity)
            certificate = self._authority.issue(request.csr_pem, kind, request.name)
            # Whoever is second finds nothing to update, on every database.
            unused = update(EnrolmentRow).where(
                EnrolmentRow.hash == token.hash, EnrolmentRow.used_at.is_(None)
            )
            if not session.execute(
                unused.values(used_at=utc_now()).returning(EnrolmentRow.id)
            ).all():
                raise _used()
            peer = add_row(session, kind, request.name, certificate, request.identity)
            told = {
                "kind": kind.value,
                "name": request.name,
                "certificate": peer.fingerprint,
                "identity": request.identity.hex(),
            }
            self._audit.append("peer.enrolled", told, actor=request.name, session=session)
        self._peers.tell_revoked(kind, request.name)  # whatever it had before stopped to count
        return Issued(peer, certificate.public_bytes(Encoding.PEM), self._authority.certificate_pem)


def _check(row: EnrolmentRow | None, kind: PeerKind, name: str) -> None:
    if row is None:
        raise Unauthenticated(
            "the enrolment token is not known here", remedy="ask the administrator for one"
        )
    if (row.kind, row.name) != (kind.value, name):
        raise Denied(
            f"the enrolment token is not for {kind} {name!r}",
            why="every token is for one named peer",
            remedy="ask the administrator for a token of this very name",
        )
    if row.used_at is not None:
        raise _used()
    if row.expires <= utc_now():
        raise Unauthenticated(
            "the enrolment token has expired", remedy="ask the administrator for a new one"
        )


def _used() -> Unauthenticated:
    return Unauthenticated(
        "the enrolment token was used before",
        why="each token enrols one peer once",
        remedy="ask for a new one; if it was not you who used it, have the peer revoked",
    )
