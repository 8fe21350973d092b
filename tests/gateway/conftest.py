"""A real gateway in a folder of its own; only the framework is a small one made for these tests."""

from __future__ import annotations

import asyncio
import base64
import shutil
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient

from fedgate import Adapter, BundleTree, Manifest
from fedgate.bundle import Bundle, BundleLimits, pack_files
from fedgate.errors import UnknownFramework, UnsupportedVersion
from fedgate_gateway.api.app import create_app
from fedgate_gateway.api.server import serve
from fedgate_gateway.config import GatewayConfig, GatewayLimits, GatewayProject, Listen
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.records import JobRecord, SubmitOptions
from fedgate_gateway.control.state import GatewayState, open_gateway_state
from fedgate_gateway.inspection import Inspected
from fedgate_gateway.pki.enrolment import EnrolmentRequest
from fedgate_gateway.pki.proof import prove

BUNDLE_LIMIT = 200_000


class TomlAdapter(Adapter):
    """A framework whose workloads are one TOML file."""

    framework = "toml"
    capabilities: ClassVar = {}

    def recognises(self, tree: BundleTree) -> bool:
        return "workload.toml" in tree

    def inspect(self, tree: BundleTree) -> Manifest:
        said = tomllib.loads(tree.text("workload.toml"))
        if said.get("version", 1) != 1:
            raise UnsupportedVersion("toml workloads of version 1 only", why=str(said["version"]))
        return Manifest(
            "toml",
            said.get("name", "nameless"),
            config=said.get("config", {}),
            min_sites=said.get("min_sites", 1),
            sites=tuple(said.get("sites", ())),
            frames=tuple(said.get("frames", ())),
            resources=said.get("resources", {}),
        )

    def coordinate(self, workload, federation) -> None:
        raise NotImplementedError

    def worker(self, workload, site):
        raise NotImplementedError


class InThisProcess:
    """Reads the small framework's bundles here: its adapter is installed nowhere."""

    async def inspect(
        self, archive: bytes, *, limits: BundleLimits | None = None, holder: str = ""
    ) -> Inspected:
        bundle, adapter = Bundle.read(archive, limits), TomlAdapter()
        if not adapter.recognises(bundle.tree):
            raise UnknownFramework("no adapter recognises this workload")
        return Inspected(bundle.digest, bundle.size, adapter.inspect(bundle.tree))

    async def unpack(self, archive: bytes, folder: Path, *, holder: str = "") -> None:
        raise NotImplementedError


class Newcomer:
    """Somebody with keys who wants in."""

    def __init__(self, token, kind="site", name="site-1"):
        self.key, self.identity = (
            ec.generate_private_key(ec.SECP256R1()),
            Ed25519PrivateKey.generate(),
        )
        self.token, self.kind, self.name = token, kind, name
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject)
        self.csr = request.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def request(self, **changes):
        fields = {
            "token": self.token, "kind": self.kind, "name": self.name, "csr_pem": self.csr,
            "identity": self.identity.public_key().public_bytes_raw(),
            "proof": prove(self.identity, self.token, self.kind, self.name, self.csr),
        }  # fmt: skip
        return EnrolmentRequest(**{**fields, **changes})

    def body(self):
        request = self.request()
        return {
            "token": request.token, "kind": request.kind, "name": request.name,
            "csr": request.csr_pem.decode(),
            "identity": base64.b64encode(request.identity).decode(),
            "proof": base64.b64encode(request.proof).decode(),
        }  # fmt: skip


def gateway_config(data: Path) -> GatewayConfig:
    return GatewayConfig(
        data=data,
        api=Listen(port=1),
        link=Listen(port=1),
        projects={
            "health": GatewayProject(sites=("site-1", "site-2", "site-3")),
            "other": GatewayProject(sites=("site-9",)),
            "two": GatewayProject(sites=("site-1", "site-2", "site-3"), minimum_cohort=2),
        },
        limits=GatewayLimits(bundle_bytes=BUNDLE_LIMIT, unpacked_bytes=1_000_000),
    )


@pytest.fixture
def make_config() -> Callable[[Path], GatewayConfig]:
    return gateway_config


@pytest.fixture
def inspector() -> InThisProcess:
    return InThisProcess()


@pytest.fixture
def newcomer() -> type[Newcomer]:
    return Newcomer


@pytest.fixture(scope="session")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder as a first start leaves it: made once, copied for every test."""
    data = tmp_path_factory.mktemp("gateway") / "data"
    open_gateway_state(gateway_config(data), inspector=InThisProcess()).close()
    return data


@pytest.fixture
def data(first_start: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first_start, tmp_path / "data")


@pytest.fixture
def state(data: Path) -> Iterator[GatewayState]:
    opened = open_gateway_state(gateway_config(data), inspector=InThisProcess())
    yield opened
    opened.close()


@pytest.fixture
def reopen(data: Path) -> Iterator[Callable[[], GatewayState]]:
    """Open the same folder again, as a restarted gateway does."""
    opened: list[GatewayState] = []

    def run() -> GatewayState:
        opened.append(open_gateway_state(gateway_config(data), inspector=InThisProcess()))
        return opened[-1]

    yield run
    for state in opened:
        state.close()


@pytest.fixture
def client(state: GatewayState) -> Iterator[TestClient]:
    with TestClient(create_app(state), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def token(state: GatewayState) -> Callable[..., dict[str, str]]:
    """Headers with a fresh token of these scopes."""

    def make(*scopes: Scope, name: str = "alice", **options) -> dict[str, str]:
        text, _ = state.tokens.create(name, scopes or (Scope.ADMIN,), **options)
        return {"Authorization": f"Bearer {text}"}

    return make


@pytest.fixture
def admin(token) -> dict[str, str]:
    return token(Scope.ADMIN, name="root")


@pytest.fixture
def archive() -> bytes:
    return pack_files({"workload.toml": b'name = "mean"\n[config]\nlr = 0.1\nrounds = 3\n'})


@pytest.fixture
def alice() -> Principal:
    return Principal("alice", "", frozenset({Scope.JOBS_READ, Scope.JOBS_WRITE}))


@pytest.fixture
def submit(
    state: GatewayState, archive: bytes, alice: Principal, signed
) -> Callable[..., JobRecord]:
    """Sign a request for the workload and submit it as alice, or ``by`` somebody else."""

    def run(
        project: str = "health", bundle: bytes = archive, idempotency_key: str = "", *,
        by: Principal = alice, **choices,
    ) -> JobRecord:  # fmt: skip
        request = signed(bundle, project=project, **choices)
        options = SubmitOptions(request, choices.get("recipient"), idempotency_key)
        return asyncio.run(state.jobs.submit(bundle, options, by))

    return run


@contextmanager
def serve_app(app, authority, hostnames=("localhost", "127.0.0.1"), **limits):
    """The app on a port of its own, in a loop on a thread of its own."""
    ready, port, loop, stop = threading.Event(), [], [], []

    def run():
        async def main():
            loop.append(asyncio.get_running_loop())
            stop.append(asyncio.Event())

            def began(chosen):
                port.append(chosen)
                ready.set()

            await serve(
                app,
                host="127.0.0.1",
                port=0,
                tls=authority.server_files(list(hostnames)),
                stop=stop[0],
                ready=began,
                **limits,
            )

        asyncio.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(60)
    try:
        yield f"https://127.0.0.1:{port[0]}"
    finally:
        loop[0].call_soon_threadsafe(stop[0].set)
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def serving():
    """``with serving(app, authority) as url``: an app on a port of its own, over real TLS."""
    return serve_app


@pytest.fixture
def url(state):
    with serve_app(create_app(state), state.authority) as address:
        yield address
