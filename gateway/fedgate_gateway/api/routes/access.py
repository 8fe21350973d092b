"""Tokens of the API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from fedgate.errors import NotFound
from fedgate_gateway.api.access import ADMIN, Admin, Anybody, Gateway
from fedgate_gateway.api.problems import responses
from fedgate_gateway.api.routes import PREFIX
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.tokens import TokenRecord
from fedgate_gateway.store.base import utc_now

router = APIRouter(prefix=PREFIX, tags=["tokens"])
_MAX_SECONDS = 10 * 366 * 86400.0


class TokenBody(BaseModel):
    """What a new token is for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=128, description="who uses it; shown as submitter")
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1)]
    projects: list[str] | None = Field(
        None, max_length=256, description="null: every project; a list limits it to these"
    )
    seconds: float | None = Field(
        None, gt=0, le=_MAX_SECONDS, description="how long it counts; null: until it is revoked"
    )


class TokenView(BaseModel):
    """A token, without the secret."""

    id: str
    name: str
    scopes: list[Scope]
    projects: list[str] | None
    created: datetime
    expires: datetime | None
    revoked: datetime | None

    @classmethod
    def of(cls, record: TokenRecord) -> TokenView:
        return cls(
            id=record.id,
            name=record.name,
            scopes=list(record.scopes),
            projects=None if record.projects is None else list(record.projects),
            created=record.created,
            expires=record.expires,
            revoked=record.revoked,
        )


class NewTokenView(BaseModel):
    """A new token; this is the only time it is shown."""

    token: str
    record: TokenView


class TokensView(BaseModel):
    tokens: list[TokenView]


class WhoView(BaseModel):
    """Whose token came with the request."""

    name: str = Field(description="what stands as submitter in requests that it may hand in")
    scopes: list[Scope]
    projects: list[str] | None = Field(description="null: every project")


@router.get("/whoami", operation_id="whoAmI", responses=responses())
def whoami(principal: Anybody) -> WhoView:
    """The token in use."""
    return WhoView(
        name=principal.name,
        scopes=sorted(principal.scopes),
        projects=None if principal.projects is None else sorted(principal.projects),
    )


@router.get("/tokens", operation_id="listTokens", dependencies=[ADMIN], responses=responses())
def list_tokens(state: Gateway) -> TokensView:
    """All tokens ever made."""
    return TokensView(tokens=[TokenView.of(record) for record in state.tokens.list()])


@router.post("/tokens", operation_id="createToken", status_code=201, responses=responses(404))
def create_token(state: Gateway, principal: Admin, body: TokenBody) -> NewTokenView:
    """Make a token."""
    unknown = sorted(set(body.projects or ()) - set(state.config.projects))
    if unknown:
        raise NotFound(f"there is no project {', '.join(map(repr, unknown[:5]))} at this gateway")
    expires = None if body.seconds is None else utc_now() + timedelta(seconds=body.seconds)
    text, record = state.tokens.create(
        body.name, body.scopes, projects=body.projects, expires=expires, actor=principal.name
    )
    return NewTokenView(token=text, record=TokenView.of(record))


@router.delete(
    "/tokens/{token_id}", operation_id="revokeToken", status_code=204, responses=responses(404)
)
def revoke_token(
    state: Gateway, principal: Admin, token_id: Annotated[str, Path(max_length=32)]
) -> None:
    """Make a token worthless from now on."""
    state.tokens.revoke(token_id, actor=principal.name)
