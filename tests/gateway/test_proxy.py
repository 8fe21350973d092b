"""A proxy on the way to the gateway: by our own setting, for HTTPS and for the link alike."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pydantic import TypeAdapter, ValidationError

from fedgate.errors import InvalidConfig, Unavailable
from fedgate_gateway.api.app import create_app
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.new_profile import create_profile
from fedgate_gateway.config.proxy import Proxy
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.link import methods
from fedgate_gateway.link.client import LinkClient
from fedgate_gateway.pki import Authority
from fedgate_gateway.pki.enrol import enrol
from fedgate_gateway.store import Objects, StoreAway
from fedgate_proto.v1 import link_pb2 as pb

pytestmark = pytest.mark.e2e
#: Nobody listens there.
DEAD = "http://127.0.0.1:9"


class ConnectProxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that can do CONNECT, and keeps where it was asked to lead to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        method, target, _ = self.rfile.readline(4096).decode().split()
        while self.rfile.readline(4096).strip():
            pass
        self.server.asked.append(f"{method} {target}")  # type: ignore[attr-defined]
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_pour, args=(there, self.connection), daemon=True)
            back.start()
            _pour(self.connection, there)
            back.join(10)


def _pour(source: socket.socket, into: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            into.sendall(data)
        into.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["nothing", "a dead proxy", "no proxy for anything"])
def environment(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says, it does not count."""
    dead = ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "grpc_proxy")
    none = ("no_proxy", "NO_PROXY", "no_grpc_proxy")
    for variable in (*dead, *none):
        monkeypatch.delenv(variable, raising=False)
    for variable in {"n": (), "a": dead}.get(request.param[0], ()):
        monkeypatch.setenv(variable, DEAD)
    if request.param.startswith("no proxy"):
        for variable in none:
            monkeypatch.setenv(variable, "127.0.0.1,localhost")


def use(url: str, state: Any, folder: Path, proxy: str = "") -> str:
    """Enrol a site, link it to a gateway, and use the API; the address of the link."""
    enrol(url, state.enrolments.invite("site", "site-1").token, "site", "site-1", folder,
          proxy=proxy)  # fmt: skip
    token, _ = state.tokens.create("alice", [Scope.SITES_READ])
    (folder / "token").write_text(token)
    profile = create_profile(
        folder / "profile.toml", api=url, ca_fingerprint=state.authority.fingerprint,
        ca_file=None, token_file=folder / "token", project="", audit_key="", proxy=proxy,
    )  # fmt: skip
    assert profile.proxy == proxy
    with Client(profile) as client:
        assert client.whoami()["name"] == "alice"
    return asyncio.run(link(state, folder, proxy))


async def link(state: Any, folder: Path, proxy: str) -> str:
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(
        _welcome,
        request_deserializer=pb.PeerMessage.FromString,
        response_serializer=pb.GatewayMessage.SerializeToString,
    )
    handlers = {methods.CONNECT.rpartition("/")[2]: handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(methods.SERVICE, handlers),)
    )
    files = state.authority.server_files(["localhost", "127.0.0.1"])
    pair = (files.key.read_bytes(), files.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=files.ca.read_bytes(), require_client_auth=True
    )
    target = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    client = LinkClient(
        target, folder, proxy=proxy,
        hello=lambda: pb.PeerHello(protocol=methods.PROTOCOL), on_message=lambda _: None,
    )  # fmt: skip
    running = asyncio.create_task(client.run())
    try:
        await asyncio.wait_for(client.up.wait(), 60)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await server.stop(0)
    return target


async def _welcome(requests: Any, context: Any) -> Any:
    yield pb.GatewayMessage(welcome=pb.Welcome(heartbeat_seconds=1, offline_seconds=60))
    async for _ in requests:
        pass


def test_without_the_setting_nothing_goes_through_a_proxy(url, state, tmp_path, environment):
    use(url, state, tmp_path / "site")


def test_with_the_setting_all_of_it_does(url, state, tmp_path, proxy, environment):
    target = use(url, state, tmp_path / "site", proxy.url)
    api = url.removeprefix("https://")
    assert f"CONNECT {target}" in proxy.asked, "the link"
    assert proxy.asked.count(f"CONNECT {api}") >= 4, "CA and enrolment, CA and whoami"
    assert {asked.split()[1] for asked in proxy.asked} == {api, target}


def test_the_object_store_is_reached_by_the_same_rule(
    serving, state, tmp_path, proxy, environment, monkeypatch
):
    """Its library would take what the environment names, and knows no CA of a house."""
    house = Authority.open(tmp_path / "house")
    ca = tmp_path / "house.pem"
    ca.write_bytes(house.certificate_pem)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "x")
    with serving(create_app(state), house) as address:  # which has no bucket: that is an answer
        monkeypatch.setenv("AWS_ENDPOINT", address)

        def ask(**way: Any) -> None:
            asyncio.run(Objects.open("s3://bucket/x", **way).check(60))

        ask(ca=ca)
        assert proxy.asked == []
        ask(ca=ca, proxy=proxy.url)
        assert set(proxy.asked) == {f"CONNECT {address.removeprefix('https://')}"}
        with pytest.raises(StoreAway, match="does not answer"):
            ask()


def test_a_proxy_that_is_not_there_is_told(url, state, tmp_path):
    token = state.enrolments.invite("site", "site-1").token
    with pytest.raises(Unavailable, match="cannot be reached"):
        enrol(url, token, "site", "site-1", tmp_path / "site", proxy=DEAD)


@pytest.mark.parametrize(
    "wrong", ["proxy:3128", "https://proxy:3128", "socks5://proxy:1", "http://proxy",
              "http://proxy:3128/path", "http://proxy:99999"],
)  # fmt: skip
def test_what_gRPC_and_HTTP_cannot_both_use_is_refused(wrong: str):
    with pytest.raises(ValidationError, match=r"CONNECT|Port"):
        TypeAdapter(Proxy).validate_python(wrong)


def test_an_API_behind_another_CA_needs_that_CA_to_be_named(serving, state, tmp_path):
    """A load balancer ends TLS; its certificate is by the house's CA, which the file names."""
    house = Authority.open(tmp_path / "house")
    (tmp_path / "house.pem").write_bytes(house.certificate_pem)
    with serving(create_app(state), house) as address:
        token = state.enrolments.invite("site", "site-1").token
        with pytest.raises(Unavailable, match="cannot be reached"):
            enrol(address, token, "site", "site-1", tmp_path / "site")
        files = enrol(address, token, "site", "site-1", tmp_path / "site",
                      api_ca=tmp_path / "house.pem")  # fmt: skip
        assert files.ca.read_bytes() == state.authority.certificate_pem, "for the link"
        text, _ = state.tokens.create("alice", [Scope.SITES_READ])
        (tmp_path / "token").write_text(text)
        profile = create_profile(
            tmp_path / "me" / "profile.toml", api=address, ca_fingerprint="",
            ca_file=tmp_path / "house.pem", token_file=tmp_path / "token", project="",
            audit_key="", proxy="",
        )  # fmt: skip
        with Client(profile) as client:
            assert client.whoami()["name"] == "alice"
    with pytest.raises(InvalidConfig, match="cannot read the CA"):
        enrol(address, token, "site", "site-1", tmp_path, api_ca=tmp_path / "token")
