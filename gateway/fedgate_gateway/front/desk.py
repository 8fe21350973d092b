"""The desk of one front door: the gateway's jobs, tokens and policies in the door's reach."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from fedgate.errors import Conflict, Denied, InvalidMessage, InvalidTransition, NotFound
from fedgate.front_door import Asker, Caller, Lines, Login, Order, Sight
from fedgate_gateway.control.jobs import MAX_PAGE
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.records import JobFilter, JobRecord
from fedgate_gateway.front.links import base_url
from fedgate_gateway.front.narration import narrate
from fedgate_gateway.front.numbers import JobNumbers, no_run
from fedgate_gateway.front.own_requests import sign_own
from fedgate_gateway.front.sightings import Sightings

if TYPE_CHECKING:
    from fedgate_gateway.front.office import Office

#: Where a link of :meth:`GatewayDesk.outputs_link` leads.
OUTPUTS = "/outputs"


@dataclass(frozen=True)
class Known:
    """A caller whose token was checked."""

    principal: Principal

    @property
    def name(self) -> str:
        return self.principal.name


class GatewayDesk:
    """:class:`fedgate.front_door.Desk`, for one framework."""

    def __init__(self, office: Office, framework: str, numbers: JobNumbers) -> None:
        self._office = office
        self._state = office.state
        self._framework = framework
        self._numbers = numbers
        self._sightings = Sightings(self._state, numbers)

    @property
    def login(self) -> Login:
        return self._office.login

    @property
    def archive_bytes(self) -> int:
        return self._state.config.limits.bundle_bytes

    async def authenticate(self, bearer: str) -> Caller:
        return Known(await asyncio.to_thread(self._office.authenticate, bearer))

    async def submit(self, caller: Caller, archive: bytes, order: Order) -> Sight:
        principal = _allowed(caller, Scope.JOBS_WRITE)
        project = order.project or self._only_project(principal)
        known = self._state.config.projects.get(project)
        datasets = order.datasets or (known.datasets if known is not None else ())
        options = await asyncio.to_thread(
            sign_own,
            self._state.request_key,
            archive,
            replace(order, project=project, datasets=datasets),
            submitter=principal.name,
            recipient=await asyncio.to_thread(self._office.recipients.of, principal.token),
        )
        job = await self._state.jobs.submit(archive, options, principal)
        return await self._sight(job)

    async def look(self, caller: Caller, number: int) -> Sight:
        return await self._sight(await self._job(_allowed(caller, Scope.JOBS_READ), number))

    async def list(self, caller: Caller, *, limit: int, skip: int = 0) -> Sequence[Sight]:
        principal = _allowed(caller, Scope.JOBS_READ)
        return await asyncio.to_thread(self._list, principal, limit, skip)

    async def cancel(self, caller: Caller, number: int) -> Sight:
        principal = _allowed(caller, Scope.JOBS_WRITE)
        job = await self._job(principal, number)
        if job.state.final:
            raise InvalidTransition(f"run {number} has ended already", why=f"{job.id} {job.state}")
        cancel = self._state.jobs.cancel
        return await self._sight(await asyncio.to_thread(cancel, job.id, principal))

    async def follow(
        self, caller: Caller, number: int, *, after: datetime | None = None
    ) -> AsyncIterator[Lines]:
        principal = _allowed(caller, Scope.JOBS_READ)
        job = await self._job(principal, number)
        self._state.shares.stream(principal)
        return narrate(self._state.jobs, job, after=after)

    async def outputs_link(self, caller: Caller, number: int, asker: Asker) -> str:
        principal = _allowed(caller, Scope.JOBS_READ)
        job = await self._job(principal, number)
        if not job.state.final:
            raise Conflict(
                f"{job.id} has released nothing yet",
                why=f"it is {job.state}",
                remedy="wait until it has ended",
            )
        if not await asyncio.to_thread(self._state.jobs.outputs, job.id):
            raise NotFound(
                f"{job.id} released nothing",
                why=f"it is {job.state}" + (f": {job.reason}" if job.reason else ""),
            )
        ticket = self._office.tickets.make(job.id, principal.token)
        return f"{base_url(self._state.config, asker)}{OUTPUTS}/{ticket}/{job.id}.zip"

    # -- the parts -----------------------------------------------------------------------------

    def _only_project(self, principal: Principal) -> str:
        seen = [name for name in sorted(self._state.config.projects) if principal.sees(name)]
        if len(seen) == 1:
            return seen[0]
        if not seen:
            raise Denied("this token is for no project of this gateway")
        raise InvalidMessage(
            "which project?",
            why=f"yours are: {', '.join(seen)}",
            remedy="name it with --federation @fedgate/PROJECT, or connect with --project",
        )

    async def _job(self, principal: Principal, number: int) -> JobRecord:
        try:
            return await asyncio.to_thread(
                lambda: self._state.jobs.get(self._numbers.job(number), principal)
            )
        except NotFound:
            raise no_run(number) from None

    async def _sight(self, job: JobRecord) -> Sight:
        return (await asyncio.to_thread(self._sightings.of, [job]))[0]

    def _list(self, principal: Principal, limit: int, skip: int) -> Sequence[Sight]:
        filters = JobFilter(framework=self._framework)
        found: list[JobRecord] = []
        cursor: str | None = None
        while len(found) < skip + limit:
            size = min(MAX_PAGE, skip + limit - len(found))
            page = self._state.jobs.list(cursor, size, filters, principal)
            found += page.jobs
            cursor = page.next_cursor
            if cursor is None:
                break
        return self._sightings.of(found[skip : skip + limit])


def _allowed(caller: Caller, scope: Scope) -> Principal:
    if not isinstance(caller, Known):
        raise Denied("this caller was never checked")
    caller.principal.require(scope)
    return caller.principal
