"""What was sealed and sent but is not yet known to have arrived.

A session that resumes on a new connection sends the stored ciphertext again: sealing a second time
would need a second nonce, or worse, use the first one twice.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fedgate.codes import Code
from fedgate.errors import SealBroken, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.sealed.letter import peek_header

DEFAULT_LETTERS: Final = 4096
DEFAULT_BYTES: Final = 64 * 1024 * 1024


class Outbox:
    """Keeps sealed letters of one direction until the peer has them, up to a bound."""

    def __init__(
        self, *, max_letters: int = DEFAULT_LETTERS, max_bytes: int = DEFAULT_BYTES
    ) -> None:
        self._max_letters = max_letters
        self._max_bytes = max_bytes
        self._letters: deque[bytes] = deque()
        self._first = 0  # sequence of the oldest letter kept
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    @property
    def nbytes(self) -> int:
        return self._bytes

    @property
    def fullness(self) -> float:
        """1.0: the next letter ends the session."""
        return max(len(self._letters) / self._max_letters, self._bytes / self._max_bytes)

    @property
    def next(self) -> int:
        """The sequence number the next letter must have."""
        return self._first + len(self._letters)

    def add(self, letter: bytes) -> bytes:
        """Keep a letter and hand it back for sending.

        Raises :class:`Unavailable` when the peer has not acknowledged for so long that the bound
        is reached (the session must end: this letter cannot be sent again), and
        :class:`SealBroken` when the letter is not the next one.
        """
        sequence = peek_header(letter).sequence
        if sequence != self.next:
            raise SealBroken(
                "a letter was put out of order", why=f"sequence {sequence}, expected {self.next}"
            )
        if len(self._letters) >= self._max_letters or self._bytes + len(letter) > self._max_bytes:
            raise Unavailable(
                "the peer does not acknowledge its letters",
                why=f"{len(self._letters)} letters, {self._bytes} bytes are waiting",
                remedy="open a new session once the peer is back",
            )
        self._letters.append(letter)
        self._bytes += len(letter)
        return letter

    def ack(self, expected: int) -> None:
        """The peer has every letter below ``expected`` (its ``Opener.expected``).

        Old acknowledgements are ignored; one for letters never sent raises :class:`SealBroken`.
        """
        if expected > self.next:
            raise SealBroken(
                "the peer acknowledges letters that were never sent",
                why=f"{expected}, sent were {self.next}",
                notice=Notice(Code.NEVER_SENT),
            )
        while self._first < expected:
            self._bytes -= len(self._letters.popleft())
            self._first += 1

    def from_sequence(self, sequence: int) -> tuple[bytes, ...]:
        """The letters from ``sequence`` on, to send again; raises when they are gone or unknown."""
        if not self._first <= sequence <= self.next:
            raise SealBroken(
                "the session cannot be resumed",
                why=f"the peer expects letter {sequence}, kept are {self._first} to {self.next}",
                remedy="open a new session",
            )
        return tuple(self._letters)[sequence - self._first :]
