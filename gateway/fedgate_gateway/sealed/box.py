"""A box: a released output sealed to the submitter's key, as one file.

``"FGB" version | signed u8 | facts u16 length + bytes | HPKE-wrapped cargo key 1197 B | [Ed25519
signature 64 B] | sealed chunks``. The wrapping binds the job, the output's name, the digests of
bundle and signed request, and the facts (round and cohort), so a box does not open as another
output, nor as one of another cohort. Anybody can seal to a public key: only the signature says
that the enclave did. It covers the wrapped key, which suffices because nobody but the sealer and
the recipient knows that key, and chunks are authentic under it.

Version 1, of release 0.1, had no facts and did not bind the request; it is refused by its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fedgate.errors import SealBroken
from fedgate_gateway.sealed._binding import bind256
from fedgate_gateway.sealed._fields import MARK_BYTES, Bytes, Fields, mark, text8
from fedgate_gateway.sealed.cargo import (
    CARGO_KEY_BYTES,
    DEFAULT_CHUNK,
    CargoKey,
    CargoOpener,
    CargoSealer,
)
from fedgate_gateway.sealed.keys import (
    SIGNATURE_BYTES,
    WRAP_OVERHEAD,
    IdentityKey,
    RecipientKey,
    SealingPublicKey,
    verify_identity,
)
from fedgate_gateway.sealed.letter import TAG_BYTES

_WRAPPED: Final = CARGO_KEY_BYTES + WRAP_OVERHEAD
_MAX_COHORT: Final = 256
_VERSION: Final = 2
_INFO: Final = b"fedgate box v2"
_SIGNATURE: Final = b"fedgate box signature v1"


@dataclass(frozen=True)
class BoxContext:
    """What a box is; both ends must say the same."""

    job: str
    output: str
    #: Digest of the bundle that made it, "sha256:<hex>".
    bundle: str = ""
    #: Digest of the signed request that asked for it, "sha256:<hex>".
    request: str = ""

    def info(self, facts: bytes) -> bytes:
        """``facts`` as they stand in the box."""
        said = (self.job, self.output, self.bundle, self.request)
        return bind256(_INFO, *map(text8, said), facts)


@dataclass(frozen=True)
class BoxFacts:
    """What the sealer says of the output, and the recipient cannot know before it has the box."""

    #: The enclave's number of the round that made it; 0: none did.
    round: int = 0
    #: Sites whose results stand behind it.
    cohort: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Raises :class:`SealBroken` for what has no room in a box."""
        if not 0 <= self.round < 1 << 32 or len(self.cohort) > _MAX_COHORT:
            raise SealBroken("a box cannot say that", why=f"round {self.round}")
        count = len(self.cohort).to_bytes(2, "big")
        return self.round.to_bytes(4, "big") + count + b"".join(map(text8, self.cohort))

    @classmethod
    def read(cls, data: bytes) -> BoxFacts:
        fields = Fields(mark(b"B", _VERSION) + data, "box", b"B", _VERSION)
        number, count = fields.number(4), fields.number(2)
        facts = cls(number, tuple(fields.text() for _ in range(count)))
        fields.end()
        return facts


@dataclass(frozen=True)
class OpenedBox:
    facts: BoxFacts
    #: The plaintext; see :func:`open_stream`.
    pieces: Iterator[bytes]


_NO_FACTS: Final = BoxFacts()


def sealed_size(
    total: int, *, signed: bool, facts: BoxFacts = _NO_FACTS, chunk: int = DEFAULT_CHUNK
) -> int:
    """Bytes of a box around ``total`` bytes."""
    head = MARK_BYTES + 3 + len(facts.to_bytes()) + _WRAPPED + (SIGNATURE_BYTES if signed else 0)
    return head + total + TAG_BYTES * -(-total // chunk)


def seal_stream(
    plain: Iterable[Bytes],
    total: int,
    recipient_public: bytes,
    context: BoxContext,
    *,
    facts: BoxFacts = _NO_FACTS,
    signer: IdentityKey | None = None,
    chunk: int = DEFAULT_CHUNK,
) -> Iterator[bytes]:
    """Yield the box of ``plain``, whose pieces (of any size) hold exactly ``total`` bytes.

    Raises :class:`SealBroken` for a bad recipient key or when the pieces hold more or less.
    """
    key = CargoKey.generate(total, chunk)
    said = facts.to_bytes()
    info = context.info(said)
    head = mark(b"B", _VERSION) + bytes((signer is not None,))
    head += len(said).to_bytes(2, "big") + said
    head += SealingPublicKey(recipient_public).encrypt(key.to_bytes(), info)
    if signer is not None:
        head += signer.sign(_SIGNATURE, info + head)
    yield head
    sealer = CargoSealer(key, context.job)
    for piece in _regroup(plain, (key.plain_size(i) for i in range(key.chunks)), "output"):
        yield sealer.seal_chunk(sealer.next, piece)
    sealer.finish()


def open_stream(
    sealed: Iterable[Bytes],
    recipient: RecipientKey,
    context: BoxContext,
    *,
    signer_public: bytes | None = None,
) -> Iterator[bytes]:
    """Yield the plaintext of a box that arrives in pieces of any size.

    Each piece yielded is authentic; together they are the output only once the iterator ends
    without raising, so write to a temporary file first. With ``signer_public`` a box that this
    key did not sign is refused. Raises :class:`SealBroken` for every other box or context.
    """
    return open_box(sealed, recipient, context, signer_public=signer_public).pieces


def open_box(
    sealed: Iterable[Bytes],
    recipient: RecipientKey,
    context: BoxContext,
    *,
    signer_public: bytes | None = None,
) -> OpenedBox:
    """The same with what the sealer says of it; reads the head of ``sealed`` at once."""
    pieces = _Pieces(sealed, "box")
    head = pieces.take(MARK_BYTES + 3)
    fields = Fields(head, "box", b"B", _VERSION)
    signed = fields.number(1)
    said = pieces.take(fields.number(2))
    head += said
    if signed not in (0, 1):
        raise SealBroken("a box has an unknown flag", why=str(signed))
    wrapped = pieces.take(_WRAPPED)
    signature = pieces.take(SIGNATURE_BYTES) if signed else b""
    info = context.info(said)
    if signer_public is not None:
        if not signed:
            raise SealBroken("the box is not signed", why="a signature by the enclave is expected")
        verify_identity(signer_public, signature, _SIGNATURE, info + head + wrapped)
    key = CargoKey.from_bytes(recipient.decrypt(wrapped, info))
    return OpenedBox(BoxFacts.read(said), _open_chunks(pieces, key, context.job))


def _open_chunks(pieces: _Pieces, key: CargoKey, job: str) -> Iterator[bytes]:
    opener = CargoOpener(key, job)
    for index in range(key.chunks):
        yield opener.open_chunk(index, pieces.take(key.plain_size(index) + TAG_BYTES))
    pieces.end()
    opener.finish()


def _regroup(pieces: Iterable[Bytes], sizes: Iterable[int], what: str) -> Iterator[bytes]:
    """The bytes of ``pieces`` as pieces of exactly ``sizes``, and nothing left over."""
    source = _Pieces(pieces, what)
    for size in sizes:
        yield source.take(size)
    source.end()


class _Pieces:
    """Takes exact amounts from pieces of any size, copying each byte once."""

    def __init__(self, pieces: Iterable[Bytes], what: str) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._what = what

    def take(self, count: int) -> bytes:
        parts: list[memoryview] = []
        missing = count
        while missing:
            if not self._more():
                raise SealBroken(f"the {self._what} is truncated", why=f"{missing} bytes missing")
            part = self._rest[:missing]
            self._rest = self._rest[len(part) :]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        if self._more():
            raise SealBroken(f"bytes follow the end of the {self._what}")

    def _more(self) -> bool:
        """Is there another byte? Loads the next piece that is not empty."""
        while not len(self._rest):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._rest = memoryview(piece).cast("B")
        return True
