"""Letters: sealed messages of one session, in strict order, small enough to ride a control stream.

A letter is ``header | AES-256-GCM(body)``. The header is in clear, so that the gateway can route
and meter it, and is authenticated as associated data. Each direction of a session has a key of its
own, and the nonce is the sequence number, so a nonce is never used twice and a letter opens only
at its own place: replays, gaps, swaps and letters of other sessions are refused.

Header, big-endian: ``"FGL" version | kind u8 | direction u8 | session 16 B | sequence u64 | body
size u32 | job, sender, receiver (u8 length and UTF-8 each) | cargo count u8 | (id 16 B, sealed
size u64) each``. Nothing in it can be chosen by a workload: which task of which round a letter is
about stands in its body.
"""

from __future__ import annotations

import enum
import struct
import threading
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedgate.codes import Code
from fedgate.errors import SealBroken
from fedgate.notice import Notice
from fedgate_gateway.sealed._fields import Bytes, Fields, mark, text8

TAG_BYTES: Final = 16
KEY_BYTES: Final = 32
SESSION_BYTES: Final = 16
CARGO_ID_BYTES: Final = 16
#: Larger things travel as cargo.
MAX_BODY: Final = 2 * 1024 * 1024
MAX_CARGO: Final = 64
MAX_CARGO_BYTES: Final = 1 << 46
#: Letters under one key: 2^32 of them at full size keep AES-GCM's advantage below 2^-30.
MAX_LETTERS: Final = 1 << 32
_FIXED = struct.Struct(">BB16sQI")
_OTHER: Final = Notice(Code.OTHER_SESSION)
_CARGO = struct.Struct(">16sQ")


class Direction(enum.IntEnum):
    TO_ENCLAVE = 1
    TO_SITE = 2


class LetterKind(enum.IntEnum):
    TASK = 1
    RESULT = 2
    CONTROL = 3
    FRAME = 4
    CARGO = 5  # says something about a cargo that is already under way


@dataclass(frozen=True, slots=True)
class CargoRef:
    """A cargo that a letter speaks of: its id, and how many bytes of ciphertext are relayed."""

    id: bytes
    size: int


@dataclass(frozen=True, slots=True)
class LetterHeader:
    """The clear part of a letter; trust it only as :meth:`Opener.open` returns it."""

    session: bytes
    direction: Direction
    sequence: int
    kind: LetterKind
    job: str
    sender: str
    receiver: str
    body: int  # bytes of plaintext
    cargo: tuple[CargoRef, ...] = ()

    def to_bytes(self) -> bytes:
        """The one encoding; raises :class:`SealBroken` for values out of bounds."""
        if len(self.session) != SESSION_BYTES or len(self.cargo) > MAX_CARGO:
            raise SealBroken("a letter's header is out of bounds")
        if not 0 <= self.body <= MAX_BODY:
            raise SealBroken("a letter is too large", why=f"{self.body} bytes, limit {MAX_BODY}")
        if not 0 <= self.sequence < MAX_LETTERS:
            raise SealBroken("a letter's sequence is out of bounds")
        parts = [
            mark(b"L"),
            _FIXED.pack(self.kind, self.direction, self.session, self.sequence, self.body),
            text8(self.job),
            text8(self.sender),
            text8(self.receiver),
            bytes((len(self.cargo),)),
        ]
        for ref in self.cargo:
            if len(ref.id) != CARGO_ID_BYTES or not 0 <= ref.size <= MAX_CARGO_BYTES:
                raise SealBroken("a letter's cargo is out of bounds")
            parts.append(_CARGO.pack(ref.id, ref.size))
        return b"".join(parts)


def peek_header(data: Bytes) -> LetterHeader:
    """Header of a whole letter, for routing and metering without keys; nothing is authenticated.

    Raises :class:`SealBroken` unless ``data`` has exactly the length its header announces.
    """
    return _parse(data)[0]


def _parse(data: Bytes) -> tuple[LetterHeader, int]:
    fields = Fields(data, "letter", b"L")
    kind, direction, session, sequence, body = _FIXED.unpack(fields.take(_FIXED.size))
    if body > MAX_BODY:
        raise SealBroken("a letter is too large", why=f"{body} bytes, limit {MAX_BODY}")
    if sequence >= MAX_LETTERS:
        raise SealBroken("a letter's sequence is out of bounds", why=str(sequence))
    job, sender, receiver = (fields.text() for _ in range(3))
    count = fields.number(1)
    if count > MAX_CARGO:
        raise SealBroken("a letter names too much cargo", why=f"{count}, limit {MAX_CARGO}")
    cargo = tuple(CargoRef(*_CARGO.unpack(fields.take(_CARGO.size))) for _ in range(count))
    if any(ref.size > MAX_CARGO_BYTES for ref in cargo):
        raise SealBroken("a letter's cargo is too large")
    try:
        header = LetterHeader(
            session=session,
            direction=Direction(direction),
            sequence=sequence,
            kind=LetterKind(kind),
            job=job,
            sender=sender,
            receiver=receiver,
            body=body,
            cargo=cargo,
        )
    except ValueError as error:
        raise SealBroken("a letter's kind or direction is unknown", why=str(error)) from None
    if fields.left != body + TAG_BYTES:
        raise SealBroken(
            "a letter has the wrong length",
            why=f"{fields.left} bytes, not {body + TAG_BYTES}",
            notice=Notice(Code.WRONG_LENGTH),
        )
    return header, fields.position


@dataclass(frozen=True, slots=True)
class Route:
    """What all letters of one session in one direction have in common."""

    session: bytes
    direction: Direction
    job: str
    sender: str
    receiver: str


class Sealer:
    """Seals one direction of one session. Thread-safe: no two letters get the same number."""

    def __init__(self, key: bytes, route: Route) -> None:
        self._aead = _cipher(key)
        self._route = route
        self._next = 0
        self._lock = threading.Lock()

    @property
    def next(self) -> int:
        """The sequence number of the next letter."""
        return self._next

    def seal(
        self,
        kind: LetterKind,
        body: Bytes,
        *,
        cargo: tuple[CargoRef, ...] = (),
    ) -> bytes:
        """The next letter. Raises :class:`SealBroken` when it is too large or keys are used up."""
        with self._lock:
            if self._next >= MAX_LETTERS:
                raise SealBroken("the session has no sequence numbers left")
            header = LetterHeader(
                session=self._route.session,
                direction=self._route.direction,
                sequence=self._next,
                kind=kind,
                job=self._route.job,
                sender=self._route.sender,
                receiver=self._route.receiver,
                body=len(body),
                cargo=cargo,
            )
            clear = header.to_bytes()
            self._next += 1  # before encryption: whatever happens, this nonce is spent
        return clear + self._aead.encrypt(_nonce(header.sequence), body, clear)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a copy of a Sealer would use its nonces again")


class Opener:
    """Opens one direction of one session, strictly in order; the first bad letter ends it."""

    def __init__(self, key: bytes, route: Route) -> None:
        self._aead = _cipher(key)
        self._route = route
        self._expected = 0
        self._broken = ""

    @property
    def expected(self) -> int:
        """The sequence number that must come next; what a peer resumes from."""
        return self._expected

    def open(self, data: Bytes) -> tuple[LetterHeader, bytes]:
        """Header and body of the next letter; raises :class:`SealBroken` for any other bytes."""
        if self._broken:
            raise SealBroken("the session has ended", why=self._broken)
        try:
            return self._open(data)
        except SealBroken as error:
            self._broken = str(error)
            raise

    def _open(self, data: Bytes) -> tuple[LetterHeader, bytes]:
        header, start = _parse(data)
        route = self._route
        if header.session != route.session:
            raise SealBroken("the letter belongs to another session", notice=_OTHER)
        if header.direction != route.direction:
            raise SealBroken("the letter goes in the other direction", notice=_OTHER)
        if header.job != route.job:
            raise SealBroken(
                "the letter belongs to another job", why=repr(header.job), notice=_OTHER
            )
        if (header.sender, header.receiver) != (route.sender, route.receiver):
            raise SealBroken(
                "the letter is not for us, or not from our peer",
                why=f"from {header.sender!r} to {header.receiver!r}",
                notice=_OTHER,
            )
        if header.sequence != self._expected:
            raise SealBroken(
                "the letter is replayed or out of order",
                why=f"sequence {header.sequence}, expected {self._expected}",
                notice=Notice(
                    Code.REPLAYED if header.sequence < self._expected else Code.OUT_OF_ORDER
                ),
            )
        view = memoryview(data)
        try:
            body = self._aead.decrypt(_nonce(header.sequence), view[start:], bytes(view[:start]))
        except InvalidTag:
            raise SealBroken(
                "the letter was altered or sealed with another key",
                why=f"sequence {header.sequence} does not authenticate",
                notice=Notice(Code.ALTERED),
            ) from None
        self._expected += 1
        return header, body

    def __reduce__(self) -> NoReturn:
        raise TypeError("a copy of an Opener would accept letters again")


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise SealBroken("a session key has 32 bytes", why=f"got {len(key)}")
    return AESGCM(key)


def _nonce(sequence: int) -> bytes:
    return sequence.to_bytes(12, "big")
