"""The front door for the ``flwr`` command, behind Fedgate's tokens, projects and policies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fedgate.errors import FedgateError, Unauthenticated
from fedgate.front_door import AsgiApp, Connection, Desk, FrontDoor
from fedgate_flower import identity
from fedgate_flower.control.answers import incident, plain, refusal
from fedgate_flower.control.calls import Calls
from fedgate_flower.control.elsewhere import not_offered


class FlowerFrontDoor(FrontDoor):
    """Flower's Control API, as flwr 1.41 speaks it."""

    framework: ClassVar[str] = "flower"
    prefix: ClassVar[str] = "/v1/control"
    uploads: ClassVar[tuple[str, ...]] = ("/v1/control/start-run",)

    def number(self, job: str) -> int:
        """The run id that the app itself sees, too."""
        return identity.run_id(job)

    def app(self, desk: Desk) -> AsgiApp:
        return _ControlApi(desk, self.prefix)

    def connect(self, connection: Connection) -> Sequence[Path]:
        from fedgate_flower.control.connection import write_connection

        return write_connection(connection)


class _ControlApi:
    """Who calls is settled before a body is read."""

    def __init__(self, desk: Desk, prefix: str) -> None:
        self._desk = desk
        self._lead = prefix + "/"
        calls = Calls(desk)
        self._known, self._open = calls.known, calls.open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except FedgateError as error:
            response = refusal(error)
        except ClientDisconnect:  # nobody is left to answer
            return
        except Exception as error:  # a mistake of ours: a stranger gets a number to ask about
            response = incident(error, request.url.path)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return plain(405, "calls of Flower's Control API are POST requests")
        name = request.url.path.removeprefix(self._lead)
        if name in self._open:
            return await self._open[name](request)
        caller = await self._desk.authenticate(_bearer(request))
        if name in self._known:
            return await self._known[name](request, caller)
        return not_offered(name)


def _bearer(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated(
            "a token is needed here", remedy="run `flwr login`, or `fedgate flower connect`"
        )
    return token.strip()
