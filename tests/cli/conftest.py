"""Running the command line in this process, and a gateway that answers over real TLS."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fedgate_gateway.cli.new_profile import write_profile
from fedgate_gateway.pki import Authority
from fedgate_gateway.pki.signing_keys import load_or_create_signing_key
from fedgate_gateway.sealed import RecipientKey


@pytest.fixture(autouse=True)
def nobody_else_s_profile(monkeypatch, tmp_path):
    monkeypatch.delenv("FEDGATE_PROFILE", raising=False)
    monkeypatch.setenv("FEDGATE_HOME", str(tmp_path / "no-home"))


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class FakeGateway:
    """Answers as a test says; ``asked`` are the requests that came, with their headers."""

    url: str
    authority: Authority
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def profile(self, folder: Path, authority: Authority | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.pem").write_bytes((authority or self.authority).certificate_pem)
        (folder / "token").write_text("fgt_secret\n")
        (folder / "token").chmod(0o600)
        if not (folder / "recipient.key").exists():
            RecipientKey.generate().save(folder / "recipient.key")
        path = folder / "profile.toml"
        load_or_create_signing_key(folder / "signer.key")
        write_profile(
            path, api=self.url, project="demo", audit_key="", enclaves={}, submitter="alice"
        )
        return path

    def says(self, status: int, body: object, kind: str = "application/json") -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Type", kind)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

        self.answers.append(answer)

    def streams(self, *pieces: bytes, breaks: bool = False) -> None:
        """Server-sent events; ``breaks`` ends the connection in the middle."""

        def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            if breaks:
                handler.send_header("Content-Length", "1000000")
            handler.end_headers()
            for piece in pieces:
                handler.wfile.write(piece)
            handler.close_connection = True

        self.answers.append(answer)


@pytest.fixture
def gateway(tmp_path) -> Iterator[FakeGateway]:
    authority = Authority.open(tmp_path / "ca")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            fake.asked.append((f"{self.command} {self.path}", dict(self.headers)))
            length = int(self.headers.get("Content-Length", 0))
            fake.bodies.append(self.rfile.read(length))
            fake.answers.pop(0)(self)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = authority.server_files(["127.0.0.1"])
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None
    fake = FakeGateway(f"https://127.0.0.1:{server.server_port}", authority)
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
