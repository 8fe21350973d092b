"""Opening the front doors that the configuration names, within the bounds of the API."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from fedgate.errors import PluginUnavailable
from fedgate.front_door import AsgiApp
from fedgate.plugins import load_front_door
from fedgate_gateway.front.desk import GatewayDesk
from fedgate_gateway.front.numbers import JobNumbers
from fedgate_gateway.front.office import Office

#: Where the gateway itself answers.
_OURS = ("/api", "/login", "/outputs", "/healthz", "/readyz", "/metrics")


def open_doors(app: FastAPI, office: Office) -> tuple[str, ...]:
    """Serve every door; returns the paths on which a bundle may come.

    Raises :class:`PluginUnavailable` for a door that does not load, or that is in another's way.
    """
    allowed = office.state.config.front_doors
    uploads: list[str] = []
    taken = list(_OURS)
    for name in allowed:
        door = load_front_door(name, allowed=allowed)
        if any(_meet(door.prefix, other) for other in taken):
            raise PluginUnavailable(
                f"the front door {name!r} cannot be opened", why=f"{door.prefix} is taken"
            )
        taken.append(door.prefix)
        numbers = JobNumbers(office.state.database, door.framework, door.number)
        served = door.app(GatewayDesk(office, door.framework, numbers))
        app.mount(door.prefix, _Door(served, _Route(f"{door.prefix}/…")), name=f"door {name}")
        uploads += [path for path in door.uploads if path.startswith(f"{door.prefix}/")]
    return tuple(uploads)


def _meet(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


@dataclass(frozen=True)
class _Route:
    """What metrics call all requests of a door: their paths may hold anything."""

    path: str


@dataclass(frozen=True)
class _Door:
    app: AsgiApp
    route: _Route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self.route
        await self.app(scope, receive, send)
