"""The sealed transport: what crosses the gateway is opaque to it, and whole, or refused.

Pure and synchronous: bytes in, bytes out, no sockets. Everything that is wrong with bytes from
outside is a :class:`fedgate.errors.SealBroken`.
"""

from fedgate_gateway.sealed.box import (
    BoxContext,
    BoxFacts,
    open_box,
    open_stream,
    seal_stream,
    sealed_size,
)
from fedgate_gateway.sealed.cargo import CargoKey, CargoOpener, CargoReader, CargoSealer
from fedgate_gateway.sealed.handshake import (
    Answer,
    EnclaveHandshake,
    Hello,
    SiteHandshake,
    read_hello,
    session_binding,
)
from fedgate_gateway.sealed.keys import (
    EnclaveKey,
    IdentityKey,
    RecipientKey,
    SealingPublicKey,
    verify_identity,
)
from fedgate_gateway.sealed.letter import (
    MAX_BODY,
    CargoRef,
    Direction,
    LetterHeader,
    LetterKind,
    Opener,
    Route,
    Sealer,
    peek_header,
)
from fedgate_gateway.sealed.outbox import Outbox
from fedgate_gateway.sealed.session import SessionKeys
from fedgate_gateway.sealed.witness import CargoWitness

__all__ = [
    "MAX_BODY",
    "Answer",
    "BoxContext",
    "BoxFacts",
    "CargoKey",
    "CargoOpener",
    "CargoReader",
    "CargoRef",
    "CargoSealer",
    "CargoWitness",
    "Direction",
    "EnclaveHandshake",
    "EnclaveKey",
    "Hello",
    "IdentityKey",
    "LetterHeader",
    "LetterKind",
    "Opener",
    "Outbox",
    "RecipientKey",
    "Route",
    "Sealer",
    "SealingPublicKey",
    "SessionKeys",
    "SiteHandshake",
    "open_box",
    "open_stream",
    "peek_header",
    "read_hello",
    "seal_stream",
    "sealed_size",
    "session_binding",
    "verify_identity",
]
