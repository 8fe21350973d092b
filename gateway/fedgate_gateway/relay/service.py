"""The gRPC service of the link, as the gateway serves it to enrolled peers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fedgate.errors import (
    DeadlineExceeded,
    FedgateError,
    InvalidMessage,
    LimitReached,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from fedgate_gateway import operator_log
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.records import OutputKind
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.control.state import GatewayState
from fedgate_gateway.link import methods
from fedgate_gateway.link.framing import data_of
from fedgate_gateway.link.output_names import check_output
from fedgate_gateway.open_calls import OpenCall, OpenCalls
from fedgate_gateway.pki import PeerKind, peer_of
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.link_shares import LinkShares
from fedgate_gateway.relay.reporting import Reporting, ReportQueues
from fedgate_gateway.relay.router import Router
from fedgate_gateway.relay.spool import CargoSpool
from fedgate_gateway.store.database import DatabaseAway
from fedgate_proto.v1 import link_pb2 as pb

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
_PATIENCE = 60.0
_HELLO_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0
_HELLO_BYTES = 256 * 1024
#: What peers of a kind say of jobs, besides entries of the log.
_OWN = {PeerKind.ENCLAVE: "report", PeerKind.SITE: "offer_reply"}
_RELAYED = ("handshake", "letter", "resume", "resumed", "session_closed")


class LinkService:
    """Every call is made by a peer whose certificate our CA issued and nobody revoked."""

    def __init__(
        self,
        state: GatewayState,
        ledger: Ledger,
        connections: Connections,
        router: Router,
        spool: CargoSpool,
        scheduler: Scheduler,
        calls: OpenCalls,
    ) -> None:
        self._calls = calls
        self._shares = LinkShares(state.config.limits)
        self._state = state
        self._ledger = ledger
        self._connections = connections
        self._router = router
        self._spool = spool
        self._scheduler = scheduler
        self._reporting = Reporting(state, ledger, connections, router, scheduler, self._shares)

    def handler(self) -> grpc.GenericRpcHandler[Any, Any]:
        return grpc.method_handlers_generic_handler(
            methods.SERVICE,
            {
                "Connect": grpc.stream_stream_rpc_method_handler(
                    self.connect, pb.PeerMessage.FromString, pb.GatewayMessage.SerializeToString
                ),
                "FetchBundle": grpc.unary_stream_rpc_method_handler(
                    self.fetch_bundle, pb.BundleRequest.FromString, pb.Chunk.SerializeToString
                ),
                # Cargo passes as the bytes it is: no parsing, no copies.
                "UploadCargo": grpc.stream_unary_rpc_method_handler(
                    self.upload_cargo, None, pb.Receipt.SerializeToString
                ),
                "DownloadCargo": grpc.unary_stream_rpc_method_handler(
                    self.download_cargo, pb.CargoRequest.FromString, None
                ),
                "RenewCertificate": grpc.unary_unary_rpc_method_handler(
                    self.renew_certificate,
                    pb.CertificateRequest.FromString,
                    pb.Certificate.SerializeToString,
                ),
                "UploadOutput": grpc.stream_unary_rpc_method_handler(
                    self.upload_output, None, pb.Receipt.SerializeToString
                ),
            },
        )

    async def _peer(self, context: Context, *, again: bool = False) -> tuple[PeerKind, str]:
        """``again``: the call carries a job of a peer that was admitted before."""
        peers = self._state.peers
        try:
            pem = _pem_of(context)
            self._end_with(peer_of(pem), context)
            peer = await asyncio.to_thread(peers.admit_again if again else peers.admit, pem)
        except DatabaseAway as error:  # whether it may come in is not known
            await _abort(context, error)
            raise
        except FedgateError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
            raise
        return peer.kind, peer.name

    def _end_with(self, peer: tuple[PeerKind, str], context: Context) -> None:
        """A call ends with the access of whoever makes it, however long it has been open."""
        told = (grpc.StatusCode.UNAUTHENTICATED, "this peer was revoked")
        holder, call = holder_of(*peer), OpenCall(farewell=lambda: _break_off(context, *told))
        self._calls.join(holder, call)
        leave: Any = lambda _: self._calls.leave(call)  # noqa: E731 (its stub is too narrow)
        context.add_done_callback(leave)

    async def renew_certificate(
        self, request: pb.CertificateRequest, context: Context
    ) -> pb.Certificate:
        issue, csr = self._state.authority.issue, request.csr
        try:
            renewed = await asyncio.to_thread(
                self._state.peers.renew,
                _pem_of(context),
                lambda kind, name: issue(csr, kind, name),
            )
        except FedgateError as error:
            await _abort(context, error)
            raise
        return pb.Certificate(pem=renewed.public_bytes(Encoding.PEM))

    # -- the control stream --------------------------------------------------------------------

    async def connect(
        self, requests: AsyncIterator[pb.PeerMessage], context: Context
    ) -> AsyncIterator[pb.GatewayMessage]:
        kind, name = await self._peer(context)
        connection = Connection(kind, name, await self._hello(requests, context))
        limits = self._state.config.limits
        self._connections.add(connection)
        operator_log.tell("link.opened", {"kind": kind.value, "name": name})
        connection.send(
            pb.GatewayMessage(
                welcome=pb.Welcome(
                    gateway="fedgate",
                    heartbeat_seconds=limits.heartbeat_seconds,
                    offline_seconds=limits.silence,
                )
            )
        )
        reports = ReportQueues(connection, self._reporting)
        reader = asyncio.create_task(self._read(connection, reports, requests))
        beat = asyncio.create_task(self._beat(connection))
        try:
            try:
                await self._scheduler.connected(connection)
            except DatabaseAway as error:  # it may hold jobs that are over: let it come again
                await _abort(context, error)
            while (message := await connection.next()) is not None:
                yield message
        finally:
            reader.cancel()
            beat.cancel()
            reports.close()
            if self._connections.remove(connection):
                operator_log.tell("link.closed", {"kind": kind.value, "name": name})
                self._scheduler.disconnected(connection)

    async def _hello(
        self, requests: AsyncIterator[pb.PeerMessage], context: Context
    ) -> pb.PeerHello:
        try:
            first = await asyncio.wait_for(anext(requests), _HELLO_SECONDS)
        except (TimeoutError, StopAsyncIteration):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no hello came")
            raise
        if first.WhichOneof("body") != "hello" or first.hello.protocol != methods.PROTOCOL:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"this gateway speaks protocol {methods.PROTOCOL}; upgrade the older side",
            )
        if first.hello.ByteSize() > _HELLO_BYTES:  # it is kept as long as the link
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the hello is too large")
        return first.hello

    async def _read(
        self,
        connection: Connection,
        reports: ReportQueues,
        requests: AsyncIterator[pb.PeerMessage],
    ) -> None:
        """Ends the connection when the peer does, or falls silent."""
        silence = self._state.config.limits.silence
        try:
            while True:
                message = await asyncio.wait_for(anext(requests), silence)
                try:
                    await self._handle(connection, reports, message)
                except FedgateError as error:  # one bad message must not cost the link
                    self._router.refuse(connection, error)
        except (TimeoutError, StopAsyncIteration):
            pass
        except asyncio.CancelledError:
            raise
        except Exception as error:
            what = type(error).__name__
            log.info("%s %s: the link broke: %s", connection.kind, connection.name, what)
        connection.close()

    async def _handle(
        self, connection: Connection, reports: ReportQueues, message: pb.PeerMessage
    ) -> None:
        kind = message.WhichOneof("body")
        await self._due(connection, message)
        if kind in _RELAYED:
            self._router.relay(connection, message)
        elif kind == "audit" or kind == _OWN.get(connection.kind):
            self._report(connection, reports, message)
        elif kind == "cargo_taken":
            self._cargo_taken(connection, message.cargo_taken)
        elif kind != "heartbeat":
            raise InvalidMessage(f"unexpected message {kind!r}")

    async def _due(self, connection: Connection, message: pb.PeerMessage) -> None:
        """Waits until one more message of a site is due."""
        if connection.kind is PeerKind.SITE:
            await self._shares.message(connection.name)
            if message.WhichOneof("body") == "handshake":
                self._shares.handshake(message.handshake.job, connection.name)

    def _cargo_taken(self, connection: Connection, taken: pb.CargoRequest) -> None:
        if self._router.route(taken.job, connection) is not None:
            self._spool.taken(taken.job, taken.cargo, _receiver(connection))

    @staticmethod
    def _report(connection: Connection, reports: ReportQueues, message: pb.PeerMessage) -> None:
        job = getattr(message, str(message.WhichOneof("body"))).job
        try:
            reports.put(job, message)
        except LimitReached:
            connection.close()
            raise

    async def _beat(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._state.config.limits.heartbeat_seconds)
            connection.send(pb.GatewayMessage(heartbeat=pb.Heartbeat()))

    # -- bulk ----------------------------------------------------------------------------------

    async def fetch_bundle(
        self, request: pb.BundleRequest, context: Context
    ) -> AsyncIterator[pb.Chunk]:
        connection = await self._connection(context)
        try:
            job = await asyncio.to_thread(self._state.jobs.get, request.job)
            sites = await asyncio.to_thread(self._state.jobs.job_sites, request.job)
            if not self._scheduler.may_fetch(connection, job, [s.site for s in sites]):
                raise NotFound("there is no such job for this peer")
            archive = await self._state.jobs.bundle_archive(job.bundle)
        except FedgateError as error:
            await _abort(context, error)
            return
        for start in range(0, len(archive), methods.CHUNK):
            yield pb.Chunk(data=archive[start : start + methods.CHUNK])

    async def _connection(self, context: Context) -> Connection:
        kind, name = await self._peer(context, again=True)
        return Connection(kind, name, pb.PeerHello())

    async def _moving(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The stream as it comes; raises :class:`DeadlineExceeded` when it stands still."""
        seconds = self._state.config.limits.idle_seconds
        while True:
            try:
                async with asyncio.timeout(seconds):
                    frame = await anext(requests)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise DeadlineExceeded(
                    "an upload stood still", why=f"nothing came for {seconds:g} s"
                ) from None
            yield frame

    async def upload_cargo(self, requests: AsyncIterator[bytes], context: Context) -> pb.Receipt:
        connection = await self._connection(context)
        cargo = None
        frames = self._moving(requests)
        try:
            header = _chunk(await anext(frames)).cargo
            route = self._router.route(header.job, connection)
            if route is None:
                raise NotFound("there is no such job for this peer")
            from_site = connection.kind is PeerKind.SITE
            if not from_site and not route.sites.issuperset(header.receivers):
                raise InvalidMessage("a cargo is addressed to a site outside the job")
            receivers = frozenset({"enclave"} if from_site else header.receivers)
            holders = {"project": route.project}
            if from_site:
                holders["site"] = connection.name
            cargo = self._spool.begin(
                header.job, header.cargo, header.size, receivers, connection.name, **holders
            )
            async for frame in frames:
                size = len(data_of(frame))
                await self._spool.write(cargo, frame, size)
                fan = 1 if from_site else len(receivers)
                self._router.count(header.job, size * fan, from_site=from_site, carrier="cargo")
            self._spool.end(cargo)
            return pb.Receipt(bytes=cargo.received)
        except (FedgateError, StopAsyncIteration) as error:
            await _abort(context, error)
            raise
        finally:
            if cargo is not None and not cargo.done:
                self._spool.fail(cargo, "its sender broke off")

    async def download_cargo(
        self, request: pb.CargoRequest, context: Context
    ) -> AsyncIterator[bytes]:
        connection = await self._connection(context)
        if self._router.route(request.job, connection) is None:
            await _abort(context, NotFound("there is no such job for this peer"))
            return
        told = (grpc.StatusCode.UNAVAILABLE, "the download stood still")
        call = OpenCall(farewell=lambda: _break_off(context, *told))
        loop, idle = asyncio.get_running_loop(), self._state.config.limits.idle_seconds
        try:
            async for frame in self._spool.read(
                request.job, request.cargo, _receiver(connection), request.first, patience=_PATIENCE
            ):
                stalled = loop.call_later(idle, call.cancel)
                try:
                    yield frame
                finally:
                    stalled.cancel()
        except FedgateError as error:
            await _abort(context, error)

    async def upload_output(self, requests: AsyncIterator[bytes], context: Context) -> pb.Receipt:
        connection = await self._connection(context)
        jobs = self._state.jobs
        frames = self._moving(requests)
        try:
            header = _chunk(await anext(frames)).output
            route = self._router.route(header.job, connection)
            if route is None or connection.kind is not PeerKind.ENCLAVE:
                raise NotFound("there is no such job for this peer")
            check_output(header.kind, header.name, route.sites)
            largest = self._state.config.limits.output_bytes
            if header.size > largest:
                raise InvalidMessage(
                    "an output is larger than this gateway takes",
                    why=f"{header.size} bytes, limits.output_bytes is {largest}",
                )

            async def pieces() -> AsyncIterator[bytes]:
                async for frame in frames:
                    yield bytes(data_of(frame))

            key = jobs.output_key(header.job, header.name)
            stored = await self._state.objects.put_stream(key, pieces(), limit=header.size)
            await self._ledger.do(
                lambda: jobs.add_output(
                    header.job, OutputKind(header.kind), header.name, stored, sealed=header.sealed
                )
            )
            return pb.Receipt(bytes=stored.size)
        except (FedgateError, StopAsyncIteration) as error:
            await _abort(context, error)
            raise


def _receiver(connection: Connection) -> str:
    """What a cargo's header calls it."""
    return connection.name if connection.kind is PeerKind.SITE else "enclave"


def holder_of(kind: PeerKind, name: str) -> str:
    """What the calls of a peer are kept under."""
    return f"{kind}:{name}"


def _pem_of(context: Context) -> bytes:
    """The certificate with which the caller opened its connection."""
    return b"".join((context.auth_context() or {}).get("x509_pem_cert", ()))


def _chunk(message: bytes) -> pb.Chunk:
    try:
        return pb.Chunk.FromString(message)
    except Exception as error:
        raise InvalidMessage("malformed chunk", why=str(error)) from error


_STATUS = {
    NotFound.code: grpc.StatusCode.NOT_FOUND,
    InvalidMessage.code: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated.code: grpc.StatusCode.UNAUTHENTICATED,
    "deadline-exceeded": grpc.StatusCode.DEADLINE_EXCEEDED,
    "conflict": grpc.StatusCode.ALREADY_EXISTS,
    LimitReached.code: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable.code: grpc.StatusCode.UNAVAILABLE,
}


async def _abort(context: Context, error: Exception) -> None:
    if isinstance(error, FedgateError):
        code = _STATUS.get(error.code, grpc.StatusCode.FAILED_PRECONDITION)
        await context.abort(code, str(error))
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the stream ended too early")


async def _break_off(context: Context, code: grpc.StatusCode, why: str) -> None:
    """From outside the call's own task, whose end alone would leave its peer waiting."""
    with contextlib.suppress(Exception):  # it has ended meanwhile, or does not read at all
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await context.abort(code, why)


async def add_health(server: grpc.aio.Server) -> None:
    """The standard health service, for those who probe over gRPC (with a client certificate)."""
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]  # set at import
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    await servicer.set(methods.SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
