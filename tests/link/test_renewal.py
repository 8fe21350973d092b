"""Certificates of peers renew themselves; one that was missed is told, with the way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fedgate.errors import InvalidConfig
from fedgate_gateway.link import methods, renewal
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.link.credentials import LinkCredentials
from fedgate_gateway.pki import Authority, Credentials, PeerKind, fingerprint, load_certificate
from fedgate_gateway.pki.authority import key_pem
from fedgate_gateway.pki.certificates import new_key
from fedgate_gateway.pki.private_files import private_folder, write_private
from fedgate_proto.v1 import link_pb2 as pb

_DAY = 86400.0


class Peer:
    """A site with credentials that last ``seconds``, and the authority that renews them."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.authority = Authority.open(folder / "ca", peer_days=seconds / _DAY)
        self.folder = private_folder(folder / "site-1")
        self.enrol()

    def enrol(self) -> None:
        key, files = new_key(), Credentials.of(self.folder)
        csr = renewal._request(LinkCredentials(b"", self._placeholder(), key_pem(key)))
        issued = self.authority.issue(csr, PeerKind.SITE, "site-1")
        write_private(files.ca, self.authority.certificate_pem)
        write_private(files.key, key_pem(key))
        write_private(files.certificate, issued.public_bytes(Encoding.PEM))

    def _placeholder(self) -> bytes:
        return self.authority.certificate_pem

    @property
    def credentials(self) -> LinkCredentials:
        return LinkCredentials.load(self.folder)


class Gateway:
    """Real gRPC over mutual TLS; it knows which certificates count, and renews."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.revoked: set[str] = set()
        self.seen: list[str] = []
        self.target = ""

    def _admit(self, context: Any) -> str:
        pem = b"".join(context.auth_context()["x509_pem_cert"])
        printed = fingerprint(load_certificate(pem))
        self.seen.append(printed)
        return printed

    async def connect(self, _requests: Any, context: Any) -> AsyncIterator[pb.GatewayMessage]:
        if self._admit(context) in self.revoked:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "it was revoked or replaced")
        yield pb.GatewayMessage(welcome=pb.Welcome(heartbeat_seconds=5, offline_seconds=15))
        await asyncio.sleep(60)

    async def renew(self, request: pb.CertificateRequest, context: Any) -> pb.Certificate:
        self._admit(context)
        issued = self._authority.issue(request.csr, PeerKind.SITE, "site-1")
        return pb.Certificate(pem=issued.public_bytes(Encoding.PEM))

    async def start(self) -> Any:
        server = grpc.aio.server()
        name = methods.CONNECT.rpartition("/")[2]
        handlers = {
            name: grpc.stream_stream_rpc_method_handler(
                self.connect, pb.PeerMessage.FromString, pb.GatewayMessage.SerializeToString
            ),
            methods.RENEW.rpartition("/")[2]: grpc.unary_unary_rpc_method_handler(
                self.renew, pb.CertificateRequest.FromString, pb.Certificate.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(methods.SERVICE, handlers),)
        )
        files = self._authority.server_files(["127.0.0.1"])
        credentials = grpc.ssl_server_credentials(
            [(files.key.read_bytes(), files.certificate.read_bytes())],
            root_certificates=files.ca.read_bytes(), require_client_auth=True,
        )  # fmt: skip
        port = server.add_secure_port("127.0.0.1:0", credentials)
        self.target = f"127.0.0.1:{port}"
        await server.start()
        return server


def link_of(gateway: Gateway, peer: Peer) -> LinkClient:
    return LinkClient(
        gateway.target, peer.folder, hello=lambda: pb.PeerHello(protocol=methods.PROTOCOL),
        on_message=lambda _: None,
    )  # fmt: skip


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_certificate_is_replaced_while_its_stream_goes_on(tmp_path: Path) -> None:
    # Valid from five minutes before its making: two thirds of the term are over at once.
    peer = Peer(tmp_path, seconds=100)
    before = peer.credentials

    async def live() -> None:
        gateway = Gateway(peer.authority)
        server = await gateway.start()
        link = link_of(gateway, peer)
        running = asyncio.create_task(link.run())
        await asyncio.wait_for(link.up.wait(), 60)
        while peer.credentials.certificate == before.certificate:
            await asyncio.sleep(0.02)
        assert link.up.is_set(), "the control stream was not touched"
        assert link.bulk is not None
        assert link._credentials == peer.credentials, "what comes next shows the new one"
        await ended(running)
        await server.stop(0)

    asyncio.run(asyncio.wait_for(live(), 90))
    assert peer.credentials.key == before.key
    assert peer.credentials.term()[1] > before.term()[1]


def test_enrolling_again_does_not_end_a_running_peer(tmp_path: Path) -> None:
    peer = Peer(tmp_path, seconds=30 * _DAY)

    async def live() -> None:
        gateway = Gateway(peer.authority)
        server = await gateway.start()
        link = link_of(gateway, peer)
        gateway.revoked.add(fingerprint(load_certificate(peer.credentials.certificate)))
        peer.enrol()
        running = asyncio.create_task(link.run())
        await asyncio.wait_for(link.up.wait(), 60)
        await ended(running)
        await server.stop(0)

    asyncio.run(asyncio.wait_for(live(), 90))


def test_a_revoked_peer_ends_and_is_told_why(tmp_path: Path) -> None:
    peer = Peer(tmp_path, seconds=30 * _DAY)

    async def live() -> None:
        gateway = Gateway(peer.authority)
        server = await gateway.start()
        gateway.revoked.add(fingerprint(load_certificate(peer.credentials.certificate)))
        try:
            await asyncio.wait_for(link_of(gateway, peer).run(), 60)
        finally:
            await server.stop(0)

    with pytest.raises(InvalidConfig, match=r"refuses this peer.*revoked.*enrol again"):
        asyncio.run(asyncio.wait_for(live(), 90))


def test_an_expired_certificate_is_not_shown_but_explained(tmp_path: Path) -> None:
    credentials = Peer(tmp_path, seconds=_DAY).credentials
    credentials.check(datetime.now(UTC))
    with pytest.raises(InvalidConfig, match=r"has expired.*enrol again; identity key"):
        credentials.check(datetime.now(UTC) + timedelta(days=2))


@pytest.mark.parametrize("other", ["key", "name", "authority", "older"])
def test_only_a_certificate_that_fits_replaces_the_old_one(tmp_path: Path, other: str) -> None:
    peer = Peer(tmp_path, seconds=30 * _DAY)
    mine = peer.credentials
    csr = renewal._request(mine)
    authority, name = peer.authority, "site-1"
    if other == "key":
        csr = renewal._request(LinkCredentials(b"", mine.certificate, key_pem(new_key())))
    elif other == "name":
        name = "site-2"
    elif other == "authority":
        authority = Authority.open(tmp_path / "other")
    elif other == "older":
        authority = Authority.open(tmp_path / "ca", peer_days=1)
    pem = authority.issue(csr, PeerKind.SITE, name).public_bytes(Encoding.PEM)
    with pytest.raises(renewal.Unauthenticated):
        renewal._check(pem, mine)
