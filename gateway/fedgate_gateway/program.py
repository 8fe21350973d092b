"""The gateway program: API and link in one event loop, over one database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import grpc

from fedgate.errors import Unavailable
from fedgate_gateway.api.app import create_app
from fedgate_gateway.api.server import serve
from fedgate_gateway.config import GatewayConfig
from fedgate_gateway.control.filing import Filing
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.control.state import GatewayState, open_database, open_gateway_state
from fedgate_gateway.inspection import Inspects
from fedgate_gateway.link import methods
from fedgate_gateway.pki import PeerKind, ServerFiles
from fedgate_gateway.relay.connections import Connections
from fedgate_gateway.relay.router import Router, Tamper
from fedgate_gateway.relay.service import LinkService, add_health, holder_of
from fedgate_gateway.relay.spool import CargoSpool, spool_budget
from fedgate_gateway.store import Objects, StoreAway
from fedgate_gateway.store.lease import Lease, take_lease

log = logging.getLogger(__name__)
_CHECKPOINT_EVERY = 10.0
_LEASE_EVERY = 2.0
_STORE_EVERY = 2.0
_RENEW_EVERY = 3600.0


async def run_gateway(
    config: GatewayConfig, inspector: Inspects | None = None, *, tamper: Tamper | None = None
) -> None:
    """Until cancelled. Raises :class:`Unavailable` when an address is taken.

    ``inspector``: its process was forked before there were threads; None: started when needed.
    ``tamper`` turns this into a gateway that attacks what it relays; only tests give one.
    """
    lease = await asyncio.to_thread(_lease, config)
    try:
        await _run(config, lease, inspector, tamper)
    finally:
        lease.release()


def _lease(config: GatewayConfig) -> Lease:
    return take_lease(open_database(config), config.data)


async def _run(
    config: GatewayConfig, lease: Lease, inspector: Inspects | None, tamper: Tamper | None
) -> None:
    state = open_gateway_state(config, inspector=inspector)
    ledger = Ledger(Filing(state.database, state.jobs, state.audit))
    connections = Connections()
    router = Router(connections, state.registry, tamper)
    spool = CargoSpool(
        config.data / "spool",
        cargo_bytes=config.limits.cargo_bytes,
        budget=spool_budget(config.limits),
    )
    scheduler = Scheduler(state, ledger, connections, router, spool)
    state.presence = lambda kind, name: connections.online(PeerKind(kind), name)
    state.site_guard = connections.site_guard
    state.site_offer = connections.offer
    state.project_files = connections.project_files
    state.runs_framework = connections.runs
    loop = asyncio.get_running_loop()

    def revoked(kind: PeerKind, name: str) -> None:
        _on_loop(loop, lambda: connections.close(kind, name))
        state.calls.end(holder_of(kind, name))

    state.peers.on_revoked(revoked)
    service = LinkService(state, ledger, connections, router, spool, scheduler, state.calls)
    files = state.authority.server_files(config.hostnames)
    server = await _link_server(config, files, service)
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(ledger.run(), name="ledger"),
        asyncio.create_task(scheduler.run(), name="scheduler"),
        asyncio.create_task(_checkpoints(state), name="checkpoints"),
        asyncio.create_task(_keep(lease), name="lease"),
        asyncio.create_task(_await_store(state.objects), name="object store"),
        asyncio.create_task(_renew_certificate(state, config.hostnames), name="certificate"),
        asyncio.create_task(
            serve(
                create_app(state),
                host=config.api.host,
                port=config.api.port,
                tls=files,
                stop=stop,
                ready=lambda port: log.info(
                    "gateway is ready: https://%s:%d", config.api.host, port
                ),
            ),
            name="api",
        ),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        state.calls.end_streams()
        stop.set()
        await server.stop(0.5)
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        tasks[0].cancel()  # the ledger last: it writes what the others left
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        with contextlib.suppress(Unavailable):  # the next start signs it
            await asyncio.to_thread(state.audit.checkpoint)
        spool.close()
        state.close()


def _on_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is connected any more
        loop.call_soon_threadsafe(call)


async def _link_server(
    config: GatewayConfig, files: ServerFiles, service: LinkService
) -> grpc.aio.Server:
    server = grpc.aio.server(options=list(methods.SERVER_OPTIONS))
    server.add_generic_rpc_handlers((service.handler(),))
    await add_health(server)
    credentials = grpc.dynamic_ssl_server_credentials(
        _link_certificate(files),
        _renewed_certificate(files),  # type: ignore[arg-type]  # None is "as before"
        require_client_authentication=True,
    )
    address = f"{config.link.host}:{config.link.port}"
    try:
        server.add_secure_port(address, credentials)
        await server.start()
    except RuntimeError as error:
        raise Unavailable(
            f"cannot serve the link on {address}",
            why=str(error),
            remedy="stop whoever uses this port, or change link.port",
        ) from error
    return server


def _link_certificate(files: ServerFiles) -> grpc.ServerCertificateConfiguration:
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    return grpc.ssl_server_certificate_configuration([pair], files.ca.read_bytes())


def _renewed_certificate(
    files: ServerFiles,
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """Asked by gRPC at each new connection: another certificate, if the file holds one."""
    known = [files.certificate.read_bytes()]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        if files.certificate.read_bytes() == known[0]:
            return None
        known[0] = files.certificate.read_bytes()
        return _link_certificate(files)

    return fetch


async def _renew_certificate(state: GatewayState, hostnames: Sequence[str]) -> None:
    """The servers' own certificate, long before it expires; both read its file again."""
    while True:
        await asyncio.sleep(_RENEW_EVERY)
        with contextlib.suppress(Unavailable):  # there are weeks left to try again
            await asyncio.to_thread(state.authority.server_files, hostnames)


async def _keep(lease: Lease) -> None:
    """Raises :class:`Conflict` once another gateway has taken the database over."""
    while True:
        await asyncio.sleep(_LEASE_EVERY)
        with contextlib.suppress(Unavailable):  # the scheduler finds that out as well, and says so
            await asyncio.to_thread(lease.check)


async def _await_store(objects: Objects) -> None:
    """Notice, and say, that an object store that was away is back, though nobody needs it."""
    while True:
        await asyncio.sleep(_STORE_EVERY)
        if objects.away:
            with contextlib.suppress(StoreAway):
                await objects.check()


async def _checkpoints(state: GatewayState) -> None:
    """Sign the log regularly: what stands after the last checkpoint is not protected yet."""
    while True:
        await asyncio.sleep(_CHECKPOINT_EVERY)
        with contextlib.suppress(Unavailable):  # what is signed next covers it
            await asyncio.to_thread(state.audit.checkpoint)
