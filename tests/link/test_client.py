"""A peer's link to a gateway that is there, or not yet: real gRPC over mutual TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedgate_gateway.config import EnclaveConfig, GatewayLimits
from fedgate_gateway.link import client as module
from fedgate_gateway.link import methods
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.pki import Authority, Credentials, PeerKind
from fedgate_gateway.pki.authority import key_pem
from fedgate_gateway.pki.private_files import private_folder, write_private
from fedgate_proto.v1 import link_pb2 as pb

LONG = 600.0
_REFUSED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class Gateway:
    """Welcomes everybody; ``calls`` were made, and each is ended at once if ``ends``."""

    def __init__(self, folder: Path, *, ends: bool = False, silence: float = 15) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.target = f"127.0.0.1:{free.getsockname()[1]}"
        authority = Authority.open(folder / "ca")
        key = ec.generate_private_key(ec.SECP256R1())
        asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = asked.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        issued = authority.issue(csr, PeerKind.SITE, "site-1").public_bytes(Encoding.PEM)
        self.folder = private_folder(folder / "peer")
        self.files = Credentials.of(self.folder)
        write_private(self.files.ca, authority.certificate_pem)
        write_private(self.files.certificate, issued)
        write_private(self.files.key, key_pem(key))
        self.authority = authority
        self._files = authority.server_files(["127.0.0.1"])
        self._ends = ends
        self._silence = silence
        self.calls = 0

    async def start(self) -> Any:
        async def connect(*_: Any) -> AsyncIterator[pb.GatewayMessage]:
            self.calls += 1
            welcome = pb.Welcome(heartbeat_seconds=5, offline_seconds=self._silence)
            yield pb.GatewayMessage(welcome=welcome)
            if not self._ends:
                await asyncio.sleep(60)

        handler = grpc.stream_stream_rpc_method_handler(
            connect,
            request_deserializer=pb.PeerMessage.FromString,
            response_serializer=pb.GatewayMessage.SerializeToString,
        )
        server = grpc.aio.server()
        handlers = {methods.CONNECT.rpartition("/")[2]: handler}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(methods.SERVICE, handlers),)
        )
        pair = (self._files.key.read_bytes(), self._files.certificate.read_bytes())
        credentials = grpc.ssl_server_credentials(
            [pair], root_certificates=self._files.ca.read_bytes(), require_client_auth=True
        )
        server.add_secure_port(self.target, credentials)
        await server.start()
        return server

    def link(self, target: str = "") -> LinkClient:
        return LinkClient(
            target or self.target, self.folder,
            hello=lambda: pb.PeerHello(protocol=methods.PROTOCOL), on_message=lambda _: None,
        )  # fmt: skip


def pauses(monkeypatch: pytest.MonkeyPatch, first: float) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", first)
    monkeypatch.setattr(module, "_LAST_PAUSE", LONG)
    monkeypatch.setattr(module, "_LEAST_PART", 0.01)
    monkeypatch.setattr(module.random, "random", lambda: 0.5)


def test_a_gateway_that_comes_is_found_although_the_pause_is_not_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses(monkeypatch, LONG)
    gateway = Gateway(tmp_path)

    async def come_late() -> None:
        link = gateway.link()
        running = asyncio.create_task(link.run())
        while link._channel is None or link._channel.get_state() is not _REFUSED:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # it has begun its pause
        server = await gateway.start()
        await link.up.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)

    asyncio.run(asyncio.wait_for(come_late(), 60))


def test_a_gateway_that_hangs_up_is_not_dialled_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses(monkeypatch, LONG)
    gateway = Gateway(tmp_path, ends=True)

    async def dial() -> int:
        server, link = await gateway.start(), gateway.link()
        running = asyncio.create_task(link.run())
        await link.up.wait()
        await asyncio.sleep(0.6)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)
        return gateway.calls

    assert asyncio.run(asyncio.wait_for(dial(), 60)) == 1


@pytest.mark.parametrize("broken", [asyncio.InvalidStateError("closed"), asyncio.CancelledError()])
def test_whatever_a_closed_stream_raises_the_link_is_dialled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: BaseException
) -> None:
    """gRPC cancels or invalidates a call that a gateway lost; that must not end the program."""
    pauses(monkeypatch, 0.01)
    gateway = Gateway(tmp_path)
    honest, failed = LinkClient._read, []

    async def read(self: LinkClient, call: Any) -> None:
        if not failed:
            failed.append(call)
            raise broken
        await honest(self, call)

    monkeypatch.setattr(LinkClient, "_read", read)

    async def dial() -> None:
        server, link = await gateway.start(), gateway.link()
        running = asyncio.create_task(link.run())
        await link.up.wait()
        assert not running.done()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await server.stop(0)

    asyncio.run(asyncio.wait_for(dial(), 60))
    assert failed


class Mute:
    """A TCP relay that can fall silent on what is connected, as a cable that was pulled does."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.partition(":")
        self._port = int(port)
        self._open: list[asyncio.Task[None]] = []
        self.address = ""
        self.connections = 0

    async def start(self) -> Any:
        server = await asyncio.start_server(self._pipe, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._open.append(asyncio.create_task(_copy(source, sink)))

    def pull(self) -> None:
        for task in self._open:
            task.cancel()
        self._open.clear()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)


def test_a_link_that_died_without_a_word_is_noticed_before_a_site_counts_as_lost() -> None:
    limits, grace = GatewayLimits(), EnclaveConfig.model_fields["grace_seconds"].default
    assert 2 * limits.heartbeat_seconds < limits.silence < grace
    assert GatewayLimits(offline_seconds=3).silence == 3


def test_a_connection_that_fell_silent_is_not_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses(monkeypatch, 0.01)
    gateway = Gateway(tmp_path, silence=1.0)

    async def dial() -> int:
        server, cable = await gateway.start(), Mute(gateway.target)
        relay = await cable.start()
        link = gateway.link(cable.address)
        running = asyncio.create_task(link.run())
        await link.up.wait()
        before = cable.connections
        cable.pull()
        while link.up.is_set():
            await asyncio.sleep(0.01)
        await link.up.wait()
        after = cable.connections
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        relay.close()
        await server.stop(0)
        return after - before

    assert asyncio.run(asyncio.wait_for(dial(), 60)) >= 1
