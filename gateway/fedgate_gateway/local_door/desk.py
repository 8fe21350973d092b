"""The desk of a local door: it takes bundles, in the name and with the keys of one profile."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NoReturn

from fedgate.bundle import BundleLimits
from fedgate.errors import FedgateError, InvalidMessage, Unauthenticated, Unavailable
from fedgate.front_door import Asker, Caller, DeviceLogin, Lines, Order, Sight, Tokens
from fedgate.manifest import Manifest
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.submitter import ProfileSubmitter


@dataclass(frozen=True)
class _Owner:
    name: str


class LocalLogin:
    """There is nothing to log in to: the door wrote its secret into the command's own files."""

    async def begin(self, asker: Asker) -> DeviceLogin:
        raise _no_login()

    async def poll(self, device_code: str) -> Tokens | None:
        raise _no_login()

    async def refresh(self, refresh_token: str) -> Tokens:
        raise _no_login()


def _no_login() -> FedgateError:
    return Unauthenticated(
        "this door knows only the command that it was opened for",
        remedy="start `fedgate flower front-door` again: it writes the connection anew",
    )


class LocalDesk:
    """A :class:`fedgate.front_door.Desk` for bundles alone; all else the gateway answers itself."""

    login = LocalLogin()
    archive_bytes = BundleLimits().archive_bytes

    def __init__(
        self,
        client: Client,
        submitter: ProfileSubmitter,
        *,
        secret: str,
        order: Order,
        number: Callable[[str], int],
    ) -> None:
        """``order``: what its jobs get where they do not choose; ``secret`` is its callers'."""
        self._client = client
        self._submitter = submitter
        self._secret = secret
        self._order = order
        self._number = number

    def knows(self, bearer: str) -> bool:
        return hmac.compare_digest(bearer.encode(), self._secret.encode())

    async def authenticate(self, bearer: str) -> Caller:
        if not self.knows(bearer):
            raise _no_login()
        return _Owner(self._client.profile.submitter)

    async def submit(self, caller: Caller, archive: bytes, order: Order) -> Sight:
        return await asyncio.to_thread(self._submit, archive, order)

    def _submit(self, archive: bytes, order: Order) -> Sight:
        ours = self._order
        full = replace(
            order,
            project=order.project or ours.project,
            sites=order.sites or ours.sites,
            datasets=order.datasets or ours.datasets,
            site_files=order.site_files or ours.site_files,
        )
        job = self._submitter.submit(archive, full, name="", key=secrets.token_hex(16))
        try:
            manifest = Manifest.from_dict(self._client.job(job.id)["bundle"]["manifest"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidMessage("the gateway describes a bundle wrongly") from error
        return Sight(
            job=job,
            number=self._number(job.id),
            manifest=manifest,
            entered={},
            explanation="signed with your key",
        )

    async def look(self, caller: Caller, number: int) -> Sight:
        _elsewhere()

    async def list(self, caller: Caller, *, limit: int, skip: int = 0) -> Sequence[Sight]:
        _elsewhere()

    async def cancel(self, caller: Caller, number: int) -> Sight:
        _elsewhere()

    async def follow(
        self, caller: Caller, number: int, *, after: datetime | None = None
    ) -> AsyncIterator[Lines]:
        _elsewhere()

    async def outputs_link(self, caller: Caller, number: int, asker: Asker) -> str:
        _elsewhere()


def _elsewhere() -> NoReturn:
    raise Unavailable("the gateway answers that, not this door")
