"""What one token may have of the API at a time."""

from __future__ import annotations

from fedgate_gateway.config import GatewayLimits
from fedgate_gateway.control.principal import Principal
from fedgate_gateway.open_calls import SERVING
from fedgate_gateway.shares import ALL, Budget, Hold, Rate, Share


class ApiShares:
    """Each method raises :class:`~fedgate.errors.LimitReached`, which is answered with 429."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._streams = Budget(
            "streams of events",
            {
                "token": Share(limits.streams_token, "streams_token"),
                ALL: Share(limits.streams, "streams"),
            },
        )
        self._uploads = Budget(
            "uploads of bundles",
            {
                "token": Share(limits.uploads_token, "uploads_token"),
                ALL: Share(limits.uploads, "uploads"),
            },
        )
        self._expensive = Rate(
            "requests that cost much",
            Share(limits.expensive_per_minute, "expensive_per_minute"),
            60.0,
        )

    def stream(self, who: Principal) -> None:
        """One more stream of events, as long as the call lasts that is served now."""
        call = SERVING.get()
        if call is not None:
            call.keep(self._streams.hold(1, token=who.token))
            call.streams = True

    def upload(self, token: str) -> Hold:
        """One more bundle on its way."""
        self._expensive.spend(token)
        return self._uploads.hold(1, token=token)

    def expensive(self, who: str) -> None:
        """One request of a token, or of an address that has none, that costs much."""
        self._expensive.spend(who)
