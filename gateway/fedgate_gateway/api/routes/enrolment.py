"""Inviting and enrolling peers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from fedgate_gateway.api.access import Admin, Gateway
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.config.programs import NAME
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.pki.authority import MAX_CSR_BYTES
from fedgate_gateway.pki.enrolment import DEFAULT_SECONDS, MAX_SECONDS, EnrolmentRequest

router = APIRouter(prefix=PREFIX, tags=["enrolment"])
_PEM = "application/x-pem-file"


class InviteBody(BaseModel):
    """Whom to let in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Annotated[PeerKind, Field(strict=False)]
    name: str = Field(pattern=NAME)
    seconds: float = Field(DEFAULT_SECONDS, gt=0, le=MAX_SECONDS, description="how long it counts")


class InvitationView(BaseModel):
    """A one-time token; this is the only time it is shown."""

    token: str = Field(description="`fge_<secret>_<start of the CA's SHA-256>`")
    kind: PeerKind
    name: str
    expires: datetime


class EnrolBody(BaseModel):
    """A new peer's keys and its proof that it holds them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    token: str = Field(max_length=128, description="the one-time token")
    kind: Annotated[PeerKind, Field(strict=False)]
    name: str = Field(pattern=NAME)
    csr: str = Field(max_length=MAX_CSR_BYTES, description="PKCS #10, PEM, of an ECDSA P-256 key")
    identity: Base64Bytes = Field(
        strict=False, description="base64 of the raw Ed25519 public key, 32 bytes"
    )
    proof: Base64Bytes = Field(
        strict=False,
        description="base64 of the Ed25519 signature by the identity key over the ASCII text "
        "`fedgate enrolment v1`, a zero byte, and the SHA-256 of token, kind, name, csr and "
        "raw identity key, in this order",
    )


class IssuedView(BaseModel):
    """The peer's certificate, and the CA's."""

    kind: PeerKind
    name: str
    certificate: str = Field(description="PEM")
    ca: str = Field(description="PEM")
    expires: datetime


@router.get(
    "/ca",
    operation_id="getCa",
    response_class=Response,
    responses={200: {"description": "PEM", "content": {_PEM: {"schema": {"type": "string"}}}}},
)
def get_ca(state: Gateway) -> Response:
    """The gateway's CA certificate; believe it only by the fingerprint in an enrolment token."""
    return Response(state.authority.certificate_pem, media_type=_PEM)


@router.post(
    "/enrolments",
    operation_id="createEnrolment",
    status_code=201,
    responses=responses(400),
)
def create_enrolment(state: Gateway, principal: Admin, body: InviteBody) -> InvitationView:
    """Make a one-time token with which one named peer can enrol."""
    made = state.enrolments.invite(body.kind, body.name, seconds=body.seconds, actor=principal.name)
    return InvitationView(token=made.token, kind=made.kind, name=made.name, expires=made.expires)


@router.post("/enrol", operation_id="enrol", status_code=201, responses=responses(400, 429))
def enrol(request: Request, state: Gateway, body: EnrolBody) -> IssuedView:
    """Enrol with a one-time token; the token in the body is the only authentication."""
    state.shares.expensive(request.client.host if request.client else "")
    enrolment = EnrolmentRequest(
        token=body.token,
        kind=body.kind.value,
        name=body.name,
        csr_pem=body.csr.encode(),
        identity=body.identity,
        proof=body.proof,
    )
    issued = state.enrolments.redeem(enrolment)
    return IssuedView(
        kind=issued.peer.kind,
        name=issued.peer.name,
        certificate=issued.certificate_pem.decode(),
        ca=issued.ca_pem.decode(),
        expires=issued.peer.expires,
    )
