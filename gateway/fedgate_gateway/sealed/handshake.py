"""How a site and an enclave open a session, with the gateway carrying the messages.

::

    site                                      enclave
    hello   nonce, session id, job, site  ->
                                          <-  answer  own nonce, key, evidence, terms, signature
    (the site checks that its project's enclave signed, appraises evidence, which must hold
    `session_binding(nonce, key, terms)`, and compares terms)
    finish  HPKE(secret), signature       ->
    letters under keys from secret and transcript, both ways

The answer is signed by the identity key that the site's project file lists for the enclave, over
the site's hello and everything else in the answer: evidence says what runs, the signature says
whose it is, and the same software under somebody else's configuration has another identity.

The transcript hashes both messages whole and what each side knows by itself (digests of project
file and bundle), so neither can have seen another exchange. It is HPKE's ``info``, it is signed
by the site's identity key, and it salts the session keys. Both sides give a nonce: without the
enclave's a replayed hello and finish would rebuild an old session, and its letters could be
replayed.
Nothing confirms the keys but the first letter in each direction; until one has opened, the peer
is not proven to hold them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fedgate.codes import Code
from fedgate.errors import SealBroken
from fedgate.notice import Notice
from fedgate_gateway.sealed._binding import bind256, bind512
from fedgate_gateway.sealed._fields import Fields, blob32, mark, text8
from fedgate_gateway.sealed.keys import (
    PUBLIC_BYTES,
    SIGNATURE_BYTES,
    WRAP_OVERHEAD,
    EnclaveKey,
    IdentityKey,
    SealingPublicKey,
    verify_identity,
)
from fedgate_gateway.sealed.letter import SESSION_BYTES
from fedgate_gateway.sealed.session import SessionKeys

NONCE_BYTES: Final = 32
MAX_EVIDENCE: Final = 1024 * 1024
MAX_TERMS: Final = 1024 * 1024
_SECRET_BYTES: Final = 32
_BINDING = b"fedgate session binding v1"
_TRANSCRIPT = b"fedgate session transcript v1"
_SIGNATURE = b"fedgate session signature v1"
_ANSWER = b"fedgate session answer v1"
_SCHEDULE = b"fedgate session schedule v1"


def session_binding(nonce: bytes, public_key: bytes, terms: bytes) -> bytes:
    """The 64 bytes of report data that evidence for this session must hold.

    SHA-512 over the site's nonce (32 B), the enclave's public key (1216 B) and the job's terms.
    """
    return bind512(_BINDING, nonce, public_key, terms)


@dataclass(frozen=True)
class Hello:
    """A site's first message."""

    session: bytes
    nonce: bytes
    job: str
    site: str

    def to_bytes(self) -> bytes:
        return mark(b"H") + self.session + self.nonce + text8(self.job) + text8(self.site)


def read_hello(data: bytes) -> Hello:
    """For routing a hello to its job; raises :class:`SealBroken` for anything else."""
    fields = Fields(data, "hello", b"H")
    hello = Hello(
        session=fields.take(SESSION_BYTES),
        nonce=fields.take(NONCE_BYTES),
        job=fields.text(),
        site=fields.text(),
    )
    fields.end()
    return hello


@dataclass(frozen=True)
class Answer:
    """An answer that the expected enclave signed; its evidence is not yet believed."""

    session: bytes
    nonce: bytes
    enclave: str
    public_key: bytes
    evidence: bytes
    terms: bytes
    #: What the evidence's report data must equal.
    binding: bytes
    raw: bytes


class SiteHandshake:
    """The site's side: ``hello``, ``read_answer``, then its caller appraises, then ``finish``."""

    def __init__(
        self,
        *,
        job: str,
        site: str,
        enclave: str,
        enclave_identity: bytes,
        identity: IdentityKey,
        project_digest: bytes,
        bundle_digest: bytes,
    ) -> None:
        """``enclave_identity`` is the raw key that the site's own project file lists for it.

        ``project_digest`` and ``bundle_digest`` are what the site itself knows, not what it was
        told: an enclave that runs with others cannot accept the handshake.
        """
        self._hello = Hello(
            secrets.token_bytes(SESSION_BYTES), secrets.token_bytes(NONCE_BYTES), job, site
        )
        self._enclave = enclave
        self._enclave_identity = bytes(enclave_identity)
        self._identity = identity
        self._digests = (project_digest, bundle_digest)
        self._done = False

    @property
    def session(self) -> bytes:
        return self._hello.session

    @property
    def nonce(self) -> bytes:
        """What the evidence must answer."""
        return self._hello.nonce

    def hello(self) -> bytes:
        return self._hello.to_bytes()

    def read_answer(self, data: bytes) -> Answer:
        """An answer to our hello, by our enclave; raises :class:`SealBroken` for any other.

        The caller then appraises ``evidence`` and ``terms``.
        """
        fields = Fields(data, "answer", b"A")
        session, nonce = fields.take(SESSION_BYTES), fields.take(NONCE_BYTES)
        enclave = fields.text()
        public_key = fields.take(PUBLIC_BYTES)
        evidence = fields.blob(MAX_EVIDENCE, "evidence")
        terms = fields.blob(MAX_TERMS, "terms")
        signed = bytes(data[: fields.position])
        signature = fields.take(SIGNATURE_BYTES)
        fields.end()
        if session != self._hello.session:
            raise SealBroken("the answer belongs to another session")
        if enclave != self._enclave:
            raise SealBroken(
                "another enclave answered", why=f"{enclave!r} instead of {self._enclave!r}"
            )
        try:
            answered = _answered(self.hello(), signed)
            verify_identity(self._enclave_identity, signature, _ANSWER, answered)
        except SealBroken as error:
            raise SealBroken(
                f"the answer is not signed by enclave {enclave}",
                why=f"{error}, as the project file lists it",
                remedy="compare its identity key with the project file",
                notice=Notice(Code.WRONG_SIGNER),
            ) from error
        SealingPublicKey(public_key)  # refuse a malformed key before anybody relies on it
        return Answer(
            session=session,
            nonce=nonce,
            enclave=enclave,
            public_key=public_key,
            evidence=evidence,
            terms=terms,
            binding=session_binding(self._hello.nonce, public_key, terms),
            raw=bytes(data),
        )

    def finish(self, answer: Answer) -> tuple[bytes, SessionKeys]:
        """The last message and the session's keys; call it only once evidence and terms hold."""
        if self._done:
            raise SealBroken("this handshake is over", remedy="open a new session")
        answer = self.read_answer(answer.raw)  # what we seal to is what the transcript hashes
        self._done = True
        transcript = _transcript(self.hello(), answer.raw, self._digests)
        secret = secrets.token_bytes(_SECRET_BYTES)
        wrapped = SealingPublicKey(answer.public_key).encrypt(secret, transcript)
        signature = self._identity.sign(_SIGNATURE, transcript + wrapped)
        message = mark(b"F") + answer.session + wrapped + signature
        seen = (transcript, wrapped, self._identity.public_raw)
        return message, _schedule(secret, seen, self._hello, answer.enclave)


class EnclaveHandshake:
    """The enclave's side of one session: made from a hello, then ``answer``, then ``accept``."""

    def __init__(
        self,
        hello: bytes,
        *,
        job: str,
        enclave: str,
        identity: IdentityKey,
        key: EnclaveKey,
        roster: Mapping[str, bytes],
        project_digest: bytes,
        bundle_digest: bytes,
    ) -> None:
        """``roster`` maps the site names of the job to raw identity keys; others are refused.

        ``identity`` is the enclave's own, ``key`` the job's.
        """
        self._raw_hello = bytes(hello)
        self._hello = read_hello(self._raw_hello)
        if self._hello.job != job:
            raise SealBroken("the hello belongs to another job", why=repr(self._hello.job))
        known = roster.get(self._hello.site)
        if known is None:
            raise SealBroken(
                f"site {self._hello.site!r} is not on the roster",
                why=f"the roster lists {', '.join(sorted(roster)) or 'nobody'}",
                remedy="add the site and its identity key to the project, at every member",
                notice=Notice(Code.NOT_ON_ROSTER),
            )
        self._site_identity = bytes(known)
        self._enclave = enclave
        self._identity = identity
        self._key = key
        self._digests = (project_digest, bundle_digest)
        self._answer = b""
        self._done = False

    @property
    def site(self) -> str:
        return self._hello.site

    @property
    def session(self) -> bytes:
        return self._hello.session

    @property
    def nonce(self) -> bytes:
        """The site's nonce."""
        return self._hello.nonce

    def binding(self, terms: bytes) -> bytes:
        """The report data to get evidence for."""
        return session_binding(self._hello.nonce, self._key.public_raw, terms)

    def answer(self, evidence: bytes, terms: bytes) -> bytes:
        """The signed answer; ``evidence`` must hold ``binding(terms)``."""
        if self._answer:
            raise SealBroken("this hello was already answered", remedy="open a new session")
        answer = b"".join(
            (
                mark(b"A"),
                self._hello.session,
                secrets.token_bytes(NONCE_BYTES),
                text8(self._enclave),
                self._key.public_raw,
                blob32(evidence, MAX_EVIDENCE, "evidence"),
                blob32(terms, MAX_TERMS, "terms"),
            )
        )
        self._answer = answer + self._identity.sign(_ANSWER, _answered(self._raw_hello, answer))
        return self._answer

    def accept(self, message: bytes) -> SessionKeys:
        """The session's keys, once the site's signature holds; one attempt for each session."""
        if not self._answer or self._done:
            raise SealBroken("no handshake waits for this message", remedy="open a new session")
        self._done = True
        fields = Fields(message, "handshake message", b"F")
        session = fields.take(SESSION_BYTES)
        wrapped = fields.take(_SECRET_BYTES + WRAP_OVERHEAD)
        signature = fields.take(SIGNATURE_BYTES)
        fields.end()
        if session != self._hello.session:
            raise SealBroken("the handshake message belongs to another session")
        transcript = _transcript(self._raw_hello, self._answer, self._digests)
        verify_identity(self._site_identity, signature, _SIGNATURE, transcript + wrapped)
        secret = self._key.decrypt(wrapped, transcript)
        if len(secret) != _SECRET_BYTES:  # cannot be, by the length of the wrapping
            raise SealBroken("the handshake secret has the wrong size")
        seen = (transcript, wrapped, self._site_identity)
        return _schedule(secret, seen, self._hello, self._enclave)


def _answered(hello: bytes, answer: bytes) -> bytes:
    """What the enclave signs: which hello it answers, and all that it answers."""
    return bind256(_ANSWER, hello, answer)


def _transcript(hello: bytes, answer: bytes, digests: tuple[bytes, bytes]) -> bytes:
    return bind256(_TRANSCRIPT, hello, answer, *digests)


def _schedule(
    secret: bytes, seen: tuple[bytes, bytes, bytes], hello: Hello, enclave: str
) -> SessionKeys:
    """Keys from the secret and what both sides saw: transcript, wrapped secret, site's identity."""
    salt = bind256(_SCHEDULE, *seen)
    return SessionKeys.derive(
        secret, salt, session=hello.session, job=hello.job, site=hello.site, enclave=enclave
    )
