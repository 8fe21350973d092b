"""A site's session with a job's enclave: handshake, appraisal, and the channel that follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fedgate.errors import EvidenceRejected, FedgateError, Unavailable
from fedgate_gateway.attestation import Claims, Evidence, appraise
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import Terms, check_terms
from fedgate_gateway.sealed import IdentityKey, LetterHeader, SessionKeys, SiteHandshake
from fedgate_proto.v1 import link_pb2 as pb

_ANSWER_SECONDS = 10
_ATTEMPTS = 6


class SiteSession:
    """One session; ``open`` returns once keys are agreed, or raises for good."""

    def __init__(
        self,
        spec: Spec,
        *,
        site: str,
        link: LinkClient,
        identity: IdentityKey,
        terms: Terms,
        kinds: tuple[str, ...],
        approve: Callable[[Claims, Terms], None],
    ) -> None:
        self._spec = spec
        self._site = site
        self._link = link
        self._identity = identity
        self._terms = terms
        self._kinds = kinds
        self._approve = approve
        self._answer: asyncio.Future[bytes] | None = None
        self.channel: Channel | None = None
        self.claims: Claims | None = None

    async def open(self) -> SessionKeys:
        """Raises :class:`EvidenceRejected`, :class:`Denied`, :class:`SealBroken`, or
        :class:`Unavailable` when the enclave does not answer.
        """
        for _ in range(_ATTEMPTS):
            await asyncio.wait_for(self._link.up.wait(), 60)
            handshake = SiteHandshake(
                job=self._spec.job,
                site=self._site,
                enclave=self._spec.enclave,
                identity=self._identity,
                roster_digest=bytes.fromhex(self._terms.roster),
                bundle_digest=self._spec.bundle_digest,
            )
            self._answer = asyncio.get_running_loop().create_future()
            self._send(pb.Handshake.HELLO, handshake.hello())
            try:
                raw = await asyncio.wait_for(self._answer, _ANSWER_SECONDS)
            except TimeoutError:
                continue
            answer = handshake.read_answer(raw)
            claims = await asyncio.to_thread(
                appraise,
                Evidence.decode(answer.evidence),
                allowed_kinds=self._kinds,
                report_data=answer.binding,
            )
            theirs = Terms.read(answer.terms)
            check_terms(self._terms, theirs)
            self._approve(claims, theirs)
            message, keys = handshake.finish(answer)
            self.claims = claims
            self._send(pb.Handshake.FINISH, message)
            return keys
        raise Unavailable("the enclave does not answer", why=f"{_ATTEMPTS} attempts")

    def attach(
        self,
        keys: SessionKeys,
        *,
        on_letter: Callable[[LetterHeader, bytes], None],
        on_broken: Callable[[FedgateError], None],
    ) -> Channel:
        self.channel = Channel(
            keys,
            keys.at_site(),
            send=lambda letter: self._link.send(pb.PeerMessage(letter=letter)),
            on_letter=on_letter,
            on_broken=on_broken,
        )
        return self.channel

    def answered(self, message: pb.Handshake) -> None:
        waiting = self._answer
        if message.step == pb.Handshake.ANSWER and waiting is not None and not waiting.done():
            waiting.set_result(message.data)

    def refused(self, reason: str) -> None:
        waiting = self._answer
        if waiting is not None and not waiting.done():
            waiting.set_exception(EvidenceRejected("the enclave refused us", why=reason[:1000]))

    def receive(self, letter: pb.Letter) -> None:
        if self.channel is not None and letter.session == self.channel.keys.session:
            self.channel.receive(letter)

    def resumed(self, answer: pb.Resume) -> None:
        if self.channel is not None and answer.session == self.channel.keys.session:
            self.channel.resumed(answer)

    def reconnect(self) -> None:
        """Our link, or the enclave's, is new: continue the session where it was."""
        if self.channel is not None and self.channel.broken is None:
            resume = self.channel.start_resume()
            self._link.send(pb.PeerMessage(resume=resume))

    def _send(self, step: pb.Handshake.Step, data: bytes) -> None:
        self._link.send(
            pb.PeerMessage(
                handshake=pb.Handshake(job=self._spec.job, site=self._site, step=step, data=data)
            )
        )
