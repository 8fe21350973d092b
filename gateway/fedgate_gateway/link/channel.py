"""One end of a session between a site and an enclave, across connections of the gateway.

Letters are numbered and opened strictly in order. When a connection breaks, the site starts a new
*epoch* and both ends send again, as the same ciphertext, what the other has not seen; letters of
an earlier epoch are stale and dropped. Epochs and acknowledgements are not secret and not
authenticated: a gateway that lies about them can only stop the session, which it can anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fedgate.codes import Code
from fedgate.errors import FedgateError, SealBroken, Unavailable
from fedgate.notice import Notice
from fedgate_gateway.sealed import (
    CargoRef,
    LetterHeader,
    LetterKind,
    Opener,
    Outbox,
    Sealer,
    SessionKeys,
)
from fedgate_proto.v1 import link_pb2 as pb

#: Acknowledge at the latest after this many letters, or bytes of them, that got no answer.
_ACK_EVERY, _ACK_BYTES = 32, 4 << 20
#: From here on whoever fills the outbox has to wait. Far above what is acknowledged late.
_CROWDED = 0.5
#: Seconds without a moment of room after which the session ends: who waits for this peer may be
#: holding up all others. Longer than a site may be away (``grace_seconds``).
_CROWDED_SECONDS = 90.0


class Channel:
    """Seals what goes out, opens what comes in. Any failure ends it, by ``on_broken``."""

    def __init__(
        self,
        keys: SessionKeys,
        ends: tuple[Sealer, Opener],
        *,
        send: Callable[[pb.Letter], None],
        on_letter: Callable[[LetterHeader, bytes], None],
        on_broken: Callable[[FedgateError], None],
    ) -> None:
        self.keys = keys
        self.epoch = 0
        self.broken: FedgateError | None = None
        self.letters_in = self.letters_out = 0
        self._sealer, self._opener = ends
        self._outbox = Outbox()
        self._send = send
        self._on_letter = on_letter
        self._on_broken = on_broken
        self._flowing = True
        self._unacknowledged = self._unacknowledged_bytes = 0
        self._crowded_since: float | None = None  # time.monotonic()

    def crowded(self) -> bool:
        """Is so much not acknowledged yet that nothing should be added for a while?

        Whoever waits asks again and again: a peer that leaves no room for too long, by accident or
        on purpose, is given up.
        """
        if self.broken is not None or not self._is_crowded():
            return False
        now = time.monotonic()
        if self._crowded_since is None:
            self._crowded_since = now
        elif now - self._crowded_since > _CROWDED_SECONDS:
            self.fail(
                Unavailable(
                    "the peer does not acknowledge its letters",
                    why=f"no room for more in {_CROWDED_SECONDS:g} s",
                    notice=Notice(Code.CROWDED, {"seconds": _CROWDED_SECONDS}),
                )
            )
            return False
        return True

    def _is_crowded(self) -> bool:
        return self._outbox.fullness > _CROWDED

    def _acknowledged(self, expected: int) -> None:
        self._outbox.ack(expected)
        if not self._is_crowded():
            self._crowded_since = None

    @property
    def expected(self) -> int:
        return self._opener.expected

    def post(
        self,
        kind: LetterKind,
        body: bytes,
        *,
        cargo: tuple[CargoRef, ...] = (),
    ) -> None:
        """Seal and send; kept until the peer has it. A broken channel drops silently."""
        if self.broken is not None:
            return
        try:
            sealed = self._sealer.seal(kind, body, cargo=cargo)
            self._outbox.add(sealed)
        except FedgateError as error:
            self.fail(error)
            return
        self.letters_out += 1
        if self._flowing:
            self._transmit(sealed)

    def _transmit(self, data: bytes) -> None:
        self._unacknowledged = self._unacknowledged_bytes = 0
        self._send(
            pb.Letter(
                epoch=self.epoch,
                expected=self._opener.expected,
                data=data,
                job=self.keys.job,
                site=self.keys.site,
                session=self.keys.session,
            )
        )

    def receive(self, letter: pb.Letter) -> None:
        if self.broken is not None or letter.epoch != self.epoch:
            return
        try:
            self._acknowledged(letter.expected)
            if not letter.data:
                return
            header, body = self._opener.open(letter.data)
        except FedgateError as error:
            self.fail(error)
            return
        self.letters_in += 1
        self._unacknowledged += 1
        self._unacknowledged_bytes += len(letter.data)
        if self._unacknowledged >= _ACK_EVERY or self._unacknowledged_bytes >= _ACK_BYTES:
            self._transmit(b"")
        try:
            self._on_letter(header, body)
        except FedgateError as error:
            self.fail(error)

    # -- connections come and go -------------------------------------------------------------

    def start_resume(self) -> pb.Resume:
        """At a site whose connection is new: hold letters back until the enclave has answered."""
        self.epoch += 1
        self._flowing = False
        return self._position()

    def resumed(self, answer: pb.Resume) -> None:
        """At the site: the enclave's answer to the newest :meth:`start_resume`."""
        if answer.epoch == self.epoch and not self._flowing:
            self._continue(answer.expected)

    def accept_resume(self, request: pb.Resume) -> pb.Resume | None:
        """At the enclave; returns the answer, which must be sent before anything else."""
        if self.broken is not None or request.epoch <= self.epoch:
            return None
        self.epoch = request.epoch
        return self._position()

    def continue_from(self, expected: int) -> None:
        """At the enclave, after its answer to a resume is on its way."""
        self._continue(expected)

    def _position(self) -> pb.Resume:
        return pb.Resume(
            job=self.keys.job,
            site=self.keys.site,
            session=self.keys.session,
            epoch=self.epoch,
            expected=self._opener.expected,
        )

    def _continue(self, expected: int) -> None:
        try:
            self._acknowledged(expected)
            again = self._outbox.from_sequence(expected)
        except FedgateError as error:
            self.fail(error)
            return
        self._flowing = True
        for sealed in again:
            self._transmit(sealed)

    # -- the end -----------------------------------------------------------------------------

    def fail(self, error: FedgateError) -> None:
        """End the session for good; the first reason counts."""
        if self.broken is None:
            self.broken = error
            self._on_broken(error)

    def close(self) -> None:
        """End it without calling it a failure."""
        if self.broken is None:
            self.broken = SealBroken("the session is over")
