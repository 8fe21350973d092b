"""Opening a local door: TLS of its own on loopback, a secret for the command, its connection."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from fedgate.front_door import Connection, FrontDoor, Order, Tokens
from fedgate_gateway.api.server import serve
from fedgate_gateway.cli.client import Client, trusting
from fedgate_gateway.cli.submitter import ProfileSubmitter
from fedgate_gateway.local_door.app import LocalDoor
from fedgate_gateway.local_door.desk import LocalDesk
from fedgate_gateway.pki import Authority
from fedgate_gateway.pki.private_files import private_folder

HOST = "127.0.0.1"
Opened = Callable[[str, Sequence[Path]], None]


@dataclass(frozen=True)
class LocalDoorSettings:
    """What whoever opens it chooses."""

    #: What the command will call it.
    name: str
    #: Holds the certificate that the command trusts; private.
    data: Path
    #: 0: any free one.
    port: int
    order: Order
    default: bool = False
    replace: bool = False


async def run_local_door(
    door: FrontDoor,
    client: Client,
    submitter: ProfileSubmitter,
    settings: LocalDoorSettings,
    opened: Opened,
) -> None:
    """Until cancelled; ``opened(address, files)`` is called once requests are answered.

    Raises :class:`~fedgate.errors.Unavailable` when the port is taken, and
    :class:`~fedgate.errors.Conflict` for a connection of this name that leads elsewhere.
    """
    client.profile.signing_key()  # a profile that cannot sign is told so before anything runs
    authority = Authority.open(private_folder(settings.data) / "pki")
    files = authority.server_files([HOST, "localhost"])
    secret = secrets.token_urlsafe(32)
    desk = LocalDesk(client, submitter, secret=secret, order=settings.order, number=door.number)
    profile = client.profile
    trouble: list[Exception] = []
    stop = asyncio.Event()

    def ready(port: int) -> None:
        address = f"{HOST}:{port}"
        try:
            written = door.connect(
                Connection(
                    name=settings.name,
                    address=address,
                    ca=files.ca.resolve(),
                    project=settings.order.project or profile.project,
                    tokens=Tokens(secret, secret),
                    default=settings.default,
                    replace=settings.replace,
                )
            )
            opened(address, written)
        except Exception as error:  # it came up inside the server, and belongs to whoever runs it
            trouble.append(error)
            stop.set()

    async with httpx.AsyncClient(
        base_url=profile.api.rstrip("/").removesuffix("/api/v1"),
        verify=trusting(profile),
        headers={"Authorization": f"Bearer {profile.read_token()}"},
        proxy=profile.proxy or None,
        trust_env=False,
    ) as http:
        app = LocalDoor(door, desk, http)
        await serve(app, host=HOST, port=settings.port, tls=files, stop=stop, ready=ready)
    if trouble:
        raise trouble[0]
