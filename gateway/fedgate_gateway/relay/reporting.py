"""What peers say of jobs: each thing is checked, handed on in order, and acknowledged once it is
written down. Nobody's reports wait for those of another job.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from fedgate.errors import FedgateError, InvalidMessage, LimitReached, NotFound, Unavailable
from fedgate_gateway.control.filing import Report
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.link import facts
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.link_shares import LinkShares
from fedgate_gateway.relay.router import Router
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
#: What one connection may have waiting here: 64 jobs with windows as its outbox keeps them.
_MOST, _MOST_BYTES = 64 * 80, 64 << 20
_PAUSE = 0.5
_LAST_NUMBER: Final = 2**53


class Reporting:
    """Of all connections."""

    def __init__(
        self,
        state: GatewayState,
        ledger: Ledger,
        connections: Connections,
        router: Router,
        scheduler: Scheduler,
        shares: LinkShares,
    ) -> None:
        self._jobs = state.jobs
        self._ledger = ledger
        self._connections = connections
        self._router = router
        self._scheduler = scheduler
        self._shares = shares
        self._failing: set[asyncio.Task[None]] = set()
        ledger.on_taken(self._taken)

    async def take(self, connection: Connection, message: pb.PeerMessage) -> None:
        """Raises :class:`Unavailable` when it is to be tried again, and others for what is wrong
        with the message.
        """
        match message.WhichOneof("body"):
            case "audit":
                await self._numbered(connection, message.audit)
            case "offer_reply":
                await self._scheduler.offer_reply(connection.name, message.offer_reply)
            case "report" if message.report.WhichOneof("what") == "event":
                await self._numbered(connection, message.report)
            case "report":
                await self._scheduler.report(connection, message.report)

    async def _numbered(self, peer: Connection, message: pb.AuditReport | pb.JobReport) -> None:
        place = message.place
        if len(place.outbox) != 16 or not 0 < place.number < _LAST_NUMBER:
            raise InvalidMessage("a report does not say where it stands")
        try:
            sites = await self._sites(message.job, peer)
        except NotFound:  # it will not be taken later either
            peer.send(taken(message.job, place.outbox, place.number))
            raise
        await self._ledger.file(await self._checked(peer, message, sites))

    async def _checked(
        self, peer: Connection, message: pb.AuditReport | pb.JobReport, sites: frozenset[str]
    ) -> Report:
        """As it is to be written down: an entry, an event, or that it is neither."""
        who, kind, data = f"{peer.kind}:{peer.name}", "", {}
        entry, refused = isinstance(message, pb.AuditReport), False
        try:
            if isinstance(message, pb.AuditReport):
                size = len(message.data)
                kind, data = message.kind, facts.entry(peer.kind, message.kind, message.data, sites)
                await self._shares.entry(message.job, who, size)
            else:
                kind, data = facts.event(message.event, sites)
                self._shares.event(message.job, len(message.event))
        except LimitReached as error:  # people see no more than this; the log goes on
            log.warning("job %s: an event is left out: %s", message.job, error)
            kind, data = "", {}
        except InvalidMessage as error:
            log.warning("job %s: a report of %s is refused: %s", message.job, who, error)
            kind, data, refused = "", {}, entry
        place = message.place
        return Report(
            who, message.job, place.outbox, place.number,
            entry=kind if entry else "", event="" if entry else kind, data=data, refused=refused,
        )  # fmt: skip

    async def _sites(self, job_id: str, peer: Connection) -> frozenset[str]:
        """News of a job that is over arrives late, but only from those who were part of it."""
        route = self._router.route(job_id, peer)
        if route is not None:
            return route.sites
        job = await asyncio.to_thread(self._jobs.get, job_id)
        found = await asyncio.to_thread(self._jobs.job_sites, job_id)
        sites = frozenset(site.site for site in found)
        enclave = peer.kind is PeerKind.ENCLAVE
        if peer.name != job.enclave if enclave else peer.name not in sites:
            raise NotFound("there is no such job for this peer")
        return sites

    def _taken(self, reports: Sequence[Report]) -> None:
        """An acknowledgement for each outbox; a job of which an entry is missing has failed."""
        last = {(r.peer, r.job, r.outbox): r.number for r in reports}
        for (who, job, outbox), number in last.items():
            kind, _, name = who.partition(":")
            connection = self._connections.peer(PeerKind(kind), name)
            if connection is not None:
                connection.send(taken(job, outbox, number))
        for job in {r.job for r in reports if r.refused}:
            task = asyncio.get_running_loop().create_task(self._scheduler.log_failed(job))
            self._failing.add(task)
            task.add_done_callback(self._failing.discard)


def taken(job: str, outbox: bytes, number: int) -> pb.GatewayMessage:
    return pb.GatewayMessage(taken=pb.ReportsTaken(job=job, outbox=outbox, number=number))


class ReportQueues:
    """Of one connection. What waits here when it ends is sent again, or asked for again."""

    def __init__(self, connection: Connection, reporting: Reporting) -> None:
        self._connection = connection
        self._reporting = reporting
        self._waiting: dict[str, deque[pb.PeerMessage]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._count = self._bytes = 0

    def put(self, job: str, message: pb.PeerMessage) -> None:
        """Raises :class:`LimitReached` where the peer does not keep to its window."""
        size = message.ByteSize()
        if self._count >= _MOST or self._bytes + size > _MOST_BYTES:
            raise LimitReached("a peer reports more than its share")
        self._count += 1
        self._bytes += size
        self._waiting.setdefault(job, deque()).append(message)
        if job not in self._tasks:
            self._tasks[job] = asyncio.get_running_loop().create_task(self._work(job))

    async def _work(self, job: str) -> None:
        waiting = self._waiting[job]
        while waiting:
            message = waiting[0]
            try:
                await self._reporting.take(self._connection, message)
            except Unavailable:
                await asyncio.sleep(_PAUSE)
                continue
            except FedgateError as error:  # one bad message must not cost the link
                self._warn(error)
            except Exception:
                log.exception("%s: a report failed", self._connection.name)
                self._connection.close()  # it comes again; a later one must not overtake it
                return
            waiting.popleft()
            self._count -= 1
            self._bytes -= message.ByteSize()
        del self._waiting[job], self._tasks[job]

    def _warn(self, error: FedgateError) -> None:
        log.warning("%s %s: %s", self._connection.kind, self._connection.name, error.code)
        log.debug("%s %s: %s", self._connection.kind, self._connection.name, error)

    def close(self) -> Iterable[asyncio.Task[None]]:
        for task in self._tasks.values():
            task.cancel()
        return self._tasks.values()
