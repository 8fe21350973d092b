"""A site's session with a job's enclave: handshake, appraisal, and the channel that follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fedgate.codes import Code
from fedgate.errors import EvidenceRejected, FedgateError, SealBroken, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.attestation import Claims, Evidence, appraise, digest_bytes
from fedgate_gateway.link.channel import Channel
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.link.terms import Terms, check_terms
from fedgate_gateway.sealed import IdentityKey, LetterHeader, SessionKeys, SiteHandshake
from fedgate_proto.v1 import link_pb2 as pb

_ANSWER_SECONDS = 10
_LINK_SECONDS = 60
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
        enclave_identity: bytes,
        terms: Terms,
        kinds: tuple[str, ...],
        approve: Callable[[Claims, Terms], None],
    ) -> None:
        self._spec = spec
        self._site = site
        self._link = link
        self._identity = identity
        self._enclave_identity = enclave_identity
        self._terms = terms
        self._kinds = kinds
        self._approve = approve
        self._answer: asyncio.Future[bytes] | None = None
        self._first: asyncio.Future[SealBroken | None] | None = None  # why no first letter came
        self.channel: Channel | None = None
        self.claims: Claims | None = None

    async def open(self) -> SessionKeys:
        """Raises :class:`EvidenceRejected`, :class:`Denied`, :class:`SealBroken`, or
        :class:`Unavailable` when the enclave does not answer.
        """
        for _ in range(_ATTEMPTS):
            await self._link_up()
            handshake = SiteHandshake(
                job=self._spec.job,
                site=self._site,
                enclave=self._spec.enclave,
                enclave_identity=self._enclave_identity,
                identity=self._identity,
                project_digest=digest_bytes(self._terms.project_file),
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
        raise Unavailable(
            "the enclave does not answer",
            why=f"{_ATTEMPTS} attempts",
            notice=Notice(Code.ENCLAVE_SILENT),
        )

    async def _link_up(self) -> None:
        try:
            await asyncio.wait_for(self._link.up.wait(), _LINK_SECONDS)
        except TimeoutError:
            raise Unavailable(
                "the gateway cannot be reached", why=f"for {_LINK_SECONDS} s"
            ) from None

    def attach(
        self,
        keys: SessionKeys,
        *,
        on_letter: Callable[[LetterHeader, bytes], None],
        on_broken: Callable[[FedgateError], None],
    ) -> Channel:
        first = self._first = asyncio.get_running_loop().create_future()

        def opened(header: LetterHeader, body: bytes) -> None:
            _settle(first, None)
            on_letter(header, body)

        def broken(error: FedgateError) -> None:
            _settle(first, _unconfirmed(str(error), error.notice))
            on_broken(error)

        self.channel = Channel(
            keys,
            keys.at_site(),
            send=lambda letter: self._link.send(pb.PeerMessage(letter=letter)),
            on_letter=opened,
            on_broken=broken,
        )
        return self.channel

    async def confirmed(self) -> None:
        """Until the enclave's first letter has opened: only then it is proven to hold the keys.

        Raises :class:`SealBroken` when it refused the session, or its last message was lost.
        """
        assert self._first is not None
        try:
            error = await asyncio.wait_for(self._first, _ANSWER_SECONDS)
        except TimeoutError:
            error = _unconfirmed(f"not within {_ANSWER_SECONDS} s")
        if error is not None:
            raise error

    @property
    def unconfirmed(self) -> bool:
        return self._first is not None and not self._first.done()

    def answered(self, message: pb.Handshake) -> None:
        waiting = self._answer
        if message.step == pb.Handshake.ANSWER and waiting is not None and not waiting.done():
            waiting.set_result(message.data)

    def refused(self, notice: Notice) -> None:
        waiting = self._answer
        if waiting is not None and not waiting.done():
            waiting.set_exception(
                EvidenceRejected("the enclave refused us", why=notice.sentence, notice=notice)
            )
        if self._first is not None:
            _settle(self._first, _unconfirmed(notice.sentence, notice))

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

    def closed(self) -> pb.SessionClosed:
        """What tells the enclave that this site is no longer, or never was, in this session."""
        session = b"" if self.channel is None else self.channel.keys.session
        return pb.SessionClosed(job=self._spec.job, site=self._site, session=session)

    def _send(self, step: pb.Handshake.Step, data: bytes) -> None:
        self._link.send(
            pb.PeerMessage(
                handshake=pb.Handshake(job=self._spec.job, site=self._site, step=step, data=data)
            )
        )


def _unconfirmed(why: str, notice: Notice | None = None) -> SealBroken:
    return SealBroken(
        "the enclave did not confirm the session",
        why=why,
        notice=notice or Notice(Code.NOT_CONFIRMED),
    )


def _settle(first: asyncio.Future[SealBroken | None], error: SealBroken | None) -> None:
    if not first.done():
        first.set_result(error)
