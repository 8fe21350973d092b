"""The API over real TLS, and a peer that enrols over it."""

# ruff: noqa: SIM117 (one step inside another reads better than one long line)

from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import time
from contextlib import ExitStack

import httpx
import pytest

from fedgate.errors import Denied, Unauthenticated, Unavailable
from fedgate.job import JobEvent
from fedgate_gateway.api.app import create_app
from fedgate_gateway.api.server import serve
from fedgate_gateway.pki import Authority, Credentials, PeerKind, peer_of
from fedgate_gateway.pki.enrol import enrol, trusting

pytestmark = pytest.mark.e2e


def test_a_site_enrols_with_nothing_but_its_token(url, state, tmp_path):
    token = state.enrolments.invite("site", "site-1").token
    files = enrol(url, token, "site", "site-1", tmp_path / "site")
    assert files == Credentials.of(tmp_path / "site")
    assert files.complete
    for file in (files.ca, files.certificate, files.key, files.identity):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert peer_of(files.certificate.read_bytes()) == (PeerKind.SITE, "site-1")
    assert state.peers.admit(files.certificate.read_bytes()).name == "site-1"
    assert files.ca.read_bytes() == state.authority.certificate_pem
    identity = files.identity.read_bytes()
    with pytest.raises(Unauthenticated, match="used before"):
        enrol(url, token, "site", "site-1", tmp_path / "site")
    again = state.enrolments.invite("site", "site-1").token
    enrol(url, again, "site", "site-1", tmp_path / "site")
    assert files.identity.read_bytes() == identity


def test_refusals_reach_the_newcomer_as_they_are(url, state, tmp_path):
    token = state.enrolments.invite("site", "site-1").token
    with pytest.raises(Denied, match="not for") as caught:
        enrol(url, token, "site", "site-2", tmp_path / "site")
    assert caught.value.remedy
    assert not Credentials.of(tmp_path / "site").complete


def test_an_impostor_never_sees_the_token(serving, state, tmp_path):
    """Another gateway answers at the address: another CA, so the newcomer stops."""
    from fastapi import FastAPI, Request, Response

    seen = []
    impostor, authority = FastAPI(), Authority.open(tmp_path / "impostor")

    @impostor.get("/api/v1/ca")
    def ca():
        return Response(authority.certificate_pem)

    @impostor.post("/api/v1/enrol")
    async def steal(request: Request):
        seen.append(await request.body())

    token = state.enrolments.invite("site", "site-1").token
    with (
        serving(impostor, authority) as address,
        pytest.raises(Unauthenticated, match="not the gateway"),
    ):
        enrol(address, token, "site", "site-1", tmp_path / "site")
    assert seen == []


def test_an_impostor_that_shows_the_true_ca_does_not_get_the_token_either(serving, state, tmp_path):
    """The true CA's certificate is public; without its key, TLS then fails."""
    from fastapi import FastAPI, Request, Response

    seen = []
    impostor = FastAPI()

    @impostor.get("/api/v1/ca")
    def ca():
        return Response(state.authority.certificate_pem)

    @impostor.post("/api/v1/enrol")
    async def steal(request: Request):
        seen.append(await request.body())

    token = state.enrolments.invite("site", "site-1").token
    with (
        serving(impostor, Authority.open(tmp_path / "impostor")) as address,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        enrol(address, token, "site", "site-1", tmp_path / "site")
    assert seen == []


def test_a_peers_certificate_cannot_serve_as_the_gateway(serving, url, state, tmp_path):
    """A site uses its own certificate, issued by the true CA, to play the gateway."""
    from fastapi import FastAPI, Response

    from fedgate_gateway.pki import ServerFiles

    token = state.enrolments.invite("site", "site-1").token
    files = enrol(url, token, "site", "site-1", tmp_path / "site")

    class Thief:
        def server_files(self, hostnames):
            return ServerFiles(files.certificate, files.key, files.ca)

    impostor = FastAPI()

    @impostor.get("/api/v1/ca")
    def ca():
        return Response(state.authority.certificate_pem)

    fresh = state.enrolments.invite("site", "site-2").token
    with (
        serving(impostor, Thief()) as address,
        pytest.raises(Unavailable, match="cannot be reached"),
    ):
        enrol(address, fresh, "site", "site-2", tmp_path / "victim")


def test_nobody_answers(tmp_path, state):
    token = state.enrolments.invite("site", "site-1").token
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(Unavailable, match="cannot be reached"):
        enrol(f"127.0.0.1:{port}", token, "site", "site-1", tmp_path / "site")


def test_events_are_pushed_while_the_job_lives(url, state, admin, submit):
    job = submit().id
    context = trusting(state.authority.certificate_pem)
    with httpx.Client(verify=context, timeout=60, trust_env=False) as client:
        watched = f"{url}/api/v1/jobs/{job}/events"
        with client.stream("GET", watched, headers=admin) as answer:
            lines = answer.iter_lines()
            seen = [next(lines)]
            while "in_review" not in seen[-1]:
                seen.append(next(lines))
            state.jobs.transition(job, JobEvent.CANCEL)
            seen += list(lines)
    assert any("cancelled" in line for line in seen)


def test_old_tls_is_refused(url):
    host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection((host, port), 5) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


def test_endless_headers_are_cut_off(url, state):
    context = trusting(state.authority.certificate_pem)
    host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
    with socket.create_connection((host, port), 5) as plain:
        with context.wrap_socket(plain, server_hostname=host) as link:
            link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
            answer = b""
            try:
                for _ in range(100):
                    link.sendall(b"X-A: " + b"a" * 4096 + b"\r\n")
                answer = link.recv(4096)
            except (ConnectionError, ssl.SSLError):
                return  # hung up on us: also cut off
    assert b"200" not in answer.split(b"\r\n")[0]


def test_connections_that_ask_for_nothing_take_nobodys_place(serving, state):
    """No token is needed to open one: held open in numbers, they were the whole API's end."""
    context = trusting(state.authority.certificate_pem)
    with ExitStack() as held, serving(create_app(state), state.authority, connections=20) as url:
        host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
        for number in range(60):
            plain = socket.create_connection((host, port), 20)
            link = held.enter_context(context.wrap_socket(plain, server_hostname=host))
            if number % 2:
                link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        assert httpx.get(f"{url}/healthz", verify=context, trust_env=False).status_code == 200


def test_a_request_whose_header_never_ends_is_given_up(serving, state):
    context = trusting(state.authority.certificate_pem)
    app = create_app(state)
    with serving(app, state.authority, header_seconds=0.3) as url:
        host, port = "127.0.0.1", int(url.rsplit(":", 1)[1])
        with (
            socket.create_connection((host, port), 20) as plain,
            context.wrap_socket(plain, server_hostname=host) as link,
        ):
            asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            link.sendall(asked)
            assert b"200" in link.recv(4096)  # and again, on the same connection, drop by drop
            with pytest.raises((ConnectionError, ssl.SSLError)):
                drip(link, asked[:-4] + b"\r\nX: " + b"x" * 1000)


def drip(link, data):
    for byte in data:
        link.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_port_that_is_taken_is_said_so(state):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        async def run():
            await serve(
                create_app(state),
                host="127.0.0.1",
                port=taken.getsockname()[1],
                tls=state.authority.server_files(["localhost"]),
                stop=asyncio.Event(),
            )

        with pytest.raises(Unavailable, match="cannot listen"):
            asyncio.run(run())
