"""What the gateway can check of a signed request: that it is whole, and belongs to what came.

It knows no submitter's key, so it cannot say who signed; sites and enclave can, by their project
files. What it refuses here it refuses early, in the submitter's hearing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fedgate.bundle import digest_of
from fedgate.errors import Denied, InvalidMessage, SealBroken
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.records import SubmitOptions
from fedgate_gateway.governance import JobRequest, SignedBy, check_times, key_id, read_unverified
from fedgate_gateway.link.terms import fingerprint
from fedgate_gateway.sealed.keys import SealingPublicKey


@dataclass(frozen=True)
class SignedSubmission:
    """A request that belongs to its bundle, its recipient key and the token that it came with."""

    request: JobRequest
    digest: str
    envelope: bytes
    signed_by: SignedBy

    @property
    def expires(self) -> datetime:
        return datetime.fromtimestamp(self.request.expires, UTC)


def read_signed(
    archive: bytes, options: SubmitOptions, principal: Principal, *, own_key: bytes, now: float
) -> SignedSubmission:
    """Raises :class:`InvalidMessage` and :class:`Denied`; ``own_key`` is the gateway's, raw."""
    read = read_unverified(options.request)
    request = read.request
    principal.require_project(request.project)
    if request.submitter != principal.name:
        raise Denied(
            f"the request is in the name of {request.submitter!r}",
            why=f"the token belongs to {principal.name!r}",
            remedy="let `submitter` in the profile be the token's name, as the project lists it",
        )
    own = bool(own_key) and read.key_id == key_id(own_key)
    if own:
        try:
            read.envelope.verify(own_key)
        except SealBroken as error:
            raise Denied("this gateway did not sign that request", why=str(error)) from error
    check_times(request, now)
    bundle = digest_of(archive)
    if request.bundle != bundle:
        raise InvalidMessage(
            "the signed request is for another bundle",
            why=f"it names {request.bundle}, the archive is {bundle}",
            remedy="sign and submit the same archive",
        )
    _check_recipient(request, options.recipient)
    signed_by = SignedBy.GATEWAY if own else SignedBy.SUBMITTER
    return SignedSubmission(request, read.digest, options.request, signed_by)


def _check_recipient(request: JobRequest, recipient: bytes | None) -> None:
    if recipient is not None:
        try:
            SealingPublicKey(recipient)
        except SealBroken as error:
            raise InvalidMessage(
                "the recipient is not an X-Wing public key", why=error.why or error.what
            ) from error
    printed = fingerprint(recipient) if recipient is not None else ""
    if request.recipient != printed:
        raise InvalidMessage(
            "the signed request names another recipient",
            why=f"it names {request.recipient or 'none'}, the key that came is {printed or 'none'}",
        )
