"""Signing a request, and believing one: the signer is a submitter of the project, or a gateway.

A gateway's signature says that a token was used there, and no more: it is what requests that came
in by a door inside the gateway have, and they count only where the project lists its key.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.codes import Code
from fedgate.errors import Denied, InvalidMessage, SealBroken
from fedgate.notice import Notice
from fedgate_gateway.governance.request import JobRequest
from fedgate_gateway.governance.statement import (
    ENVELOPE_BYTES,
    Envelope,
    Statement,
    key_id,
    read_envelope,
    sign_statement,
)

#: The largest signed request.
REQUEST_BYTES: Final = ENVELOPE_BYTES
_KIND: Final = "urn:fedgate:job-request:v1"
#: A request made later than now, by a clock that is ahead, is believed up to this.
CLOCK_SKEW_SECONDS: Final = 300
#: No request is valid for longer.
LONGEST_SECONDS: Final = 30 * 86400


class SignedBy(enum.StrEnum):
    SUBMITTER = "submitter"
    GATEWAY = "gateway"


@dataclass(frozen=True)
class SignedRequest:
    """A request whose signature was verified."""

    request: JobRequest
    #: "sha256:<hex>" of the signed statement; what records call the request.
    digest: str
    #: The name under which the project lists the key.
    signer: str
    signed_by: SignedBy


@dataclass(frozen=True)
class UnverifiedRequest:
    """A request that is whole and well-formed, by whomever."""

    request: JobRequest
    digest: str
    key_id: str
    envelope: Envelope


def sign_request(request: JobRequest, key: Ed25519PrivateKey) -> bytes:
    """The envelope, at most :data:`REQUEST_BYTES`."""
    return sign_statement(Statement(_KIND, request.bundle, request.to_predicate()), key)


def read_unverified(envelope: bytes) -> UnverifiedRequest:
    """Raises :class:`InvalidMessage` for anything that :func:`sign_request` does not write.

    For whoever passes a request on and cannot know its signer; nothing in it may be relied on.
    """
    read = read_envelope(envelope)
    if read.statement.kind != _KIND:
        raise InvalidMessage(
            "that is signed, but no job's request", why=f"{read.statement.kind!r:.100}"
        )
    request = JobRequest.from_predicate(read.statement.subject, read.statement.predicate)
    return UnverifiedRequest(request, read.digest, read.key_id, read)


def check_times(request: JobRequest, now: float) -> None:
    """Raises :class:`Denied` outside the time for which ``request`` was signed."""
    if request.expires - request.created > LONGEST_SECONDS:
        raise Denied(
            "the signed request is valid for too long",
            why=f"{(request.expires - request.created) / 86400:.0f} days, at most "
            f"{LONGEST_SECONDS // 86400}",
            remedy="sign it again with an earlier end",
            notice=Notice(
                Code.REQUEST_TOO_LONG,
                {
                    "days": (request.expires - request.created) // 86400,
                    "most": LONGEST_SECONDS // 86400,
                },
            ),
        )
    if now < request.created - CLOCK_SKEW_SECONDS:
        raise Denied(
            "the signed request is not valid yet",
            why=f"it was made {request.created - now:.0f} s in the future",
            remedy="set the clocks right",
            notice=Notice(Code.REQUEST_TOO_EARLY, {"seconds": int(request.created - now)}),
        )
    if now >= request.expires:
        raise Denied(
            "the signed request has expired",
            why=f"{now - request.expires:.0f} s ago",
            remedy="submit the workload again",
            notice=Notice(Code.REQUEST_EXPIRED),
        )


def verify_request(
    envelope: bytes,
    *,
    submitters: Mapping[str, bytes],
    gateways: Mapping[str, bytes],
    now: float,
    began: Callable[[str], bool] = lambda _digest: False,
) -> SignedRequest:
    """What was signed, by whom; raises :class:`Denied` unless the project's keys say so.

    ``submitters`` and ``gateways`` are raw Ed25519 keys by name, as the project file lists them;
    ``now`` is seconds since the epoch. A submitter signs in its own name only. A request that
    ``began`` knows by its digest was verified in its time, and its job goes on beyond it.
    """
    try:
        read = read_unverified(envelope)
    except InvalidMessage as error:
        raise Denied(
            "the job's request is malformed", why=str(error), notice=Notice(Code.NOT_SIGNED)
        ) from error
    signer, key, signed_by = _signer(read, submitters, gateways)
    try:
        read.envelope.verify(key)
    except SealBroken as error:
        raise Denied(
            "the job's request is not signed by the key that it names",
            why=f"the key of {signer!r} did not make this signature",
            remedy="submit the workload again; if that fails too, somebody alters requests",
            notice=Notice(Code.NOT_SIGNED),
        ) from error
    if signed_by is SignedBy.SUBMITTER and read.request.submitter != signer:
        raise Denied(
            f"the job's request names {read.request.submitter!r} as its submitter",
            why=f"it is signed with the key of {signer!r}",
            remedy="a submitter signs in its own name only",
            notice=Notice(Code.NOT_SIGNED),
        )
    if not began(read.digest):
        check_times(read.request, now)
    return SignedRequest(read.request, read.digest, signer, signed_by)


def _signer(
    read: UnverifiedRequest, submitters: Mapping[str, bytes], gateways: Mapping[str, bytes]
) -> tuple[str, bytes, SignedBy]:
    # A gateway's key comes first: listed twice, it must not pass for a person's.
    for names, kind in ((gateways, SignedBy.GATEWAY), (submitters, SignedBy.SUBMITTER)):
        found = [name for name, key in names.items() if key_id(key) == read.key_id]
        if found:
            # The same key under several names signs for each of them, and for nobody else.
            name = read.request.submitter if read.request.submitter in found else found[0]
            return name, names[name], kind
    raise Denied(
        f"nobody in project {read.request.project!r} has the key that signed this request",
        why=f"it is {read.key_id}, in the name of {read.request.submitter!r}",
        remedy="the project file must list the submitter's key under [submitters], or, for a "
        "request that a gateway signs, the gateway's under [gateways]",
        notice=Notice(Code.NOT_SIGNED),
    )
