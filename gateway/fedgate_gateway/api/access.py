"""Who may call what: a bearer token with the scope that the operation names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from fedgate.errors import Unauthenticated
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.state import GatewayState

_bearer = HTTPBearer(
    auto_error=False,
    description="A token `fgt_…` with the scope that the operation needs.",
    bearerFormat="fgt_<43 characters>",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def gateway(request: Request) -> GatewayState:
    state = request.app.state.gateway
    assert isinstance(state, GatewayState)
    return state


Gateway = Annotated[GatewayState, Depends(gateway)]


def anybody(credentials: Credentials, state: Gateway) -> Principal:
    """A dependency: the principal behind the request, whatever its token may do."""
    if credentials is None:
        raise Unauthenticated(
            "a token is needed here",
            why="the request has no Authorization: Bearer header",
            remedy="send the token that the gateway's administrator gave you",
        )
    return state.tokens.authenticate(credentials.credentials)


def needs(scope: Scope) -> Callable[[Credentials, GatewayState], Principal]:
    """A dependency: the principal behind the request, if its token has ``scope``."""

    def principal(credentials: Credentials, state: Gateway) -> Principal:
        who = anybody(credentials, state)
        who.require(scope)
        return who

    return principal


def _needs(scope: Scope) -> Any:
    return Security(needs(scope), scopes=[scope.value])


#: For handlers that do not look at the principal: ``dependencies=[...]``.
JOBS_READ, SITES_READ = _needs(Scope.JOBS_READ), _needs(Scope.SITES_READ)
AUDIT_READ, METRICS_READ = _needs(Scope.AUDIT_READ), _needs(Scope.METRICS_READ)
ADMIN = _needs(Scope.ADMIN)
#: For those that do.
Anybody = Annotated[Principal, Security(anybody)]
JobReader = Annotated[Principal, JOBS_READ]
JobWriter = Annotated[Principal, _needs(Scope.JOBS_WRITE)]
SiteReader = Annotated[Principal, SITES_READ]
AuditReader = Annotated[Principal, AUDIT_READ]
Admin = Annotated[Principal, ADMIN]
