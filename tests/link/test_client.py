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

from fedgate_gateway.link import client as module
from fedgate_gateway.link import methods
from fedgate_gateway.link.client import LinkClient, LinkCredentials
from fedgate_gateway.pki import Authority, PeerKind
from fedgate_gateway.pki.authority import key_pem
from fedgate_proto.v1 import link_pb2 as pb

LONG = 20.0
_REFUSED = grpc.ChannelConnectivity.TRANSIENT_FAILURE


class Gateway:
    """Welcomes everybody; ``calls`` were made, and each is ended at once if ``ends``."""

    def __init__(self, folder: Path, *, ends: bool = False) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.target = f"127.0.0.1:{free.getsockname()[1]}"
        authority = Authority.open(folder / "ca")
        key = ec.generate_private_key(ec.SECP256R1())
        asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        csr = asked.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        issued = authority.issue(csr, PeerKind.SITE, "site-1").public_bytes(Encoding.PEM)
        self.peer = LinkCredentials(authority.certificate_pem, issued, key_pem(key))
        self._files = authority.server_files(["127.0.0.1"])
        self._ends = ends
        self.calls = 0

    async def start(self) -> Any:
        async def connect(*_: Any) -> AsyncIterator[pb.GatewayMessage]:
            self.calls += 1
            yield pb.GatewayMessage(welcome=pb.Welcome(heartbeat_seconds=5, offline_seconds=15))
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

    def link(self) -> LinkClient:
        return LinkClient(
            self.target, self.peer, hello=lambda: pb.PeerHello(protocol=methods.PROTOCOL),
            on_message=lambda _: None,
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

    async def come_late() -> float:
        link, loop = gateway.link(), asyncio.get_running_loop()
        running = asyncio.create_task(link.run())
        while link._channel is None or link._channel.get_state() is not _REFUSED:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # it has begun its pause
        server, began = await gateway.start(), loop.time()
        await link.up.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)
        return loop.time() - began

    assert asyncio.run(asyncio.wait_for(come_late(), 60)) < LONG * 0.9


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
