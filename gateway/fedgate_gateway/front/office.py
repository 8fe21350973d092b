"""Everything behind the front doors, opened over the gateway's state."""

from __future__ import annotations

from dataclasses import dataclass

from fedgate_gateway.control.principal import Principal
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.front.device import EmbeddedLogin
from fedgate_gateway.front.links import Tickets
from fedgate_gateway.front.logins import Logins
from fedgate_gateway.front.recipients import Recipients

_TOKEN = "fgt_"  # noqa: S105 (what the API's own tokens start with)


@dataclass(frozen=True)
class Office:
    """Shared by all doors. ``login`` is embedded; an OpenID provider's can stand in its place."""

    state: GatewayState
    logins: Logins
    login: EmbeddedLogin
    recipients: Recipients
    tickets: Tickets

    @classmethod
    def open(cls, state: GatewayState) -> Office:
        logins = Logins(state.database, state.tokens, state.audit)
        return cls(
            state=state,
            logins=logins,
            login=EmbeddedLogin(state.config, state.tokens, logins),
            recipients=Recipients(state.database, state.audit),
            tickets=Tickets(),
        )

    def authenticate(self, bearer: str) -> Principal:
        """By a login's access token, or by a token of the API itself.

        Raises :class:`~fedgate.errors.Unauthenticated`.
        """
        if bearer.startswith(_TOKEN):
            return self.state.tokens.authenticate(bearer)
        return self.logins.principal(bearer)
