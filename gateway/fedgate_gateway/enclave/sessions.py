"""The sealed sessions of one job, at the enclave: handshake, letters, cargo, one per site."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fedgate.codes import Code
from fedgate.errors import FedgateError, SealBroken, Unavailable
from fedgate.notice import Notice, public
from fedgate_gateway.attestation import Attester
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.closing import closing
from fedgate_gateway.link.terms import Terms
from fedgate_gateway.sealed import (
    EnclaveHandshake,
    EnclaveKey,
    IdentityKey,
    LetterHeader,
    SessionKeys,
    read_hello,
)
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)


class SessionEvents(Protocol):
    """What the job wants to know of its sessions."""

    def session_opened(self, site: str, keys: SessionKeys) -> None: ...
    def session_resumed(self, site: str) -> None: ...
    def session_ended(self, site: str, error: FedgateError) -> None: ...
    def letter(self, site: str, header: LetterHeader, body: bytes) -> None: ...
    def refused(self, site: str, error: FedgateError) -> None: ...


@dataclass
class SiteSession:
    site: str
    channel: Channel
    keys: SessionKeys
    #: The site's first letter has opened, so it holds the keys.
    confirmed: bool = False


@dataclass
class Sessions:
    """All sessions of one job. At most one per site: a new one replaces the old."""

    job: str
    enclave: str
    identity: IdentityKey  # the enclave's own; signs each answer
    key: EnclaveKey
    terms: Terms
    roster: Mapping[str, bytes]  # the job's sites only
    project_digest: bytes
    bundle_digest: bytes
    attester: Attester
    events: SessionEvents
    send: Callable[[pb.PeerMessage], None]
    spawn: Callable[[Coroutine[Any, Any, None]], None]
    _open: dict[str, SiteSession] = field(default_factory=dict)
    _waiting: dict[str, EnclaveHandshake] = field(default_factory=dict)

    def get(self, site: str) -> SiteSession | None:
        session = self._open.get(site)
        return session if session is not None and session.channel.broken is None else None

    # -- handshake -----------------------------------------------------------------------------

    def handshake(self, message: pb.Handshake) -> None:
        try:
            if message.step == pb.Handshake.HELLO:
                self._hello(message.site, message.data)
            elif message.step == pb.Handshake.FINISH:
                self._finish(message.site, message.data)
            else:
                raise SealBroken("an unexpected step of a handshake")
        except FedgateError as error:
            self._refuse(message.site, error)

    def _hello(self, site: str, data: bytes) -> None:
        if read_hello(data).site != site:  # it would take the place of another site's handshake
            raise SealBroken("a hello in the name of another site")
        handshake = EnclaveHandshake(
            data,
            job=self.job,
            enclave=self.enclave,
            identity=self.identity,
            key=self.key,
            roster=self.roster,
            project_digest=self.project_digest,
            bundle_digest=self.bundle_digest,
        )
        self._waiting[site] = handshake
        self.spawn(self._answer(handshake))

    async def _answer(self, handshake: EnclaveHandshake) -> None:
        terms = self.terms.to_bytes()
        try:
            evidence = await asyncio.to_thread(self.attester.attest, handshake.binding(terms))
            answer = handshake.answer(evidence.encode(), terms)
        except FedgateError as error:
            self._refuse(handshake.site, error)
            return
        self.send(
            pb.PeerMessage(
                handshake=pb.Handshake(
                    job=self.job, site=handshake.site, step=pb.Handshake.ANSWER, data=answer
                )
            )
        )

    def _finish(self, site: str, data: bytes) -> None:
        handshake = self._waiting.pop(site, None)
        if handshake is None:
            raise SealBroken("no handshake waits for this message")
        try:
            keys = handshake.accept(data)
        except FedgateError as error:
            current = self._open.get(site)
            replayed = current is not None and current.keys.session == handshake.session
            self._refuse(site, error, b"" if replayed else handshake.session)
            return
        old = self._open.pop(site, None)
        if old is not None:
            old.channel.close()
        channel = Channel(
            keys,
            keys.at_enclave(),
            send=lambda letter: self.send(pb.PeerMessage(letter=letter)),
            on_letter=lambda header, body: self._letter(site, keys, header, body),
            on_broken=lambda error: self._broken(site, keys, error),
        )
        self._open[site] = SiteSession(site, channel, keys)
        self.events.session_opened(site, keys)

    def _refuse(self, site: str, error: FedgateError, session: bytes = b"") -> None:
        log.debug("job %s: refused a session for %s: %s", self.job, site, error)
        self.events.refused(site, error)
        self._close(site, session, public(error))

    # -- letters -------------------------------------------------------------------------------

    def receive(self, letter: pb.Letter) -> None:
        session = self._open.get(letter.site)
        if session is not None and session.keys.session == letter.session:
            session.channel.receive(letter)

    def resume(self, request: pb.Resume) -> None:
        session = self._open.get(request.site)
        if session is None or session.keys.session != request.session:
            self._close(request.site, request.session, Notice(Code.UNKNOWN_SESSION))
            return
        answer = session.channel.accept_resume(request)
        if answer is not None:
            self.send(pb.PeerMessage(resumed=answer))
            session.channel.continue_from(request.expected)
            if session.channel.broken is None and session.confirmed:
                self.events.session_resumed(request.site)

    def _letter(self, site: str, keys: SessionKeys, header: LetterHeader, body: bytes) -> None:
        session = self._open.get(site)
        if session is not None and session.keys is keys:
            session.confirmed = True
            self.events.letter(site, header, body)

    def _broken(self, site: str, keys: SessionKeys, error: FedgateError) -> None:
        session = self._open.get(site)
        if session is None or session.keys is not keys:
            return
        self._close(site, keys.session, public(error))
        self.events.session_ended(site, error)

    def closed_by_site(self, message: pb.SessionClosed) -> None:
        """Not authenticated: a gateway that forges it can only refuse service."""
        session = self._open.get(message.site)
        notice = closing(message)
        reason = Unavailable("the site ended its session", why=notice.sentence, notice=notice)
        if session is None and message.site in self.roster:
            self.events.session_ended(message.site, reason)  # it will not open one
        elif (
            session is not None
            and session.keys.session == message.session
            and session.channel.broken is None
        ):
            session.channel.close()
            self.events.session_ended(message.site, reason)

    def _close(self, site: str, session: bytes, notice: Notice) -> None:
        self.send(
            pb.PeerMessage(
                session_closed=pb.SessionClosed(
                    job=self.job, site=site, session=session, notice=notice.to_text()
                )
            )
        )

    def close(self) -> None:
        for session in self._open.values():
            session.channel.close()
        self._open.clear()
        self._waiting.clear()
