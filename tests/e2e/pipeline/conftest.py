"""Federations for attacks, kills and searches, with small workloads of the plain framework."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest

from fedgate import Model
from fedgate.averaging import weighted_mean
from fedgate.bundle import pack_files
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.files import Writer
from fedgate_gateway.sealed import RecipientKey

PROGRAMS = Path(__file__).parent / "programs"
FINAL = ("succeeded", "failed", "denied", "cancelled", "expired")
#: Weights that a search can find: 32 bytes, again and again, that are finite numbers.
_PLANTED = """
import hashlib, os, time
import numpy as np

def planted(label, size):
    words = np.frombuffer(hashlib.sha256(label.encode()).digest(), np.uint32)
    return np.resize(words & 0x3fffffff | 0x20000000, size).view(np.float32)
"""
_WORK = (
    _PLANTED
    + """
def initial(config):
    print("hello from the coordinator", flush=True)
    return {"w": planted("planted model", config["size"])}

def train(model, data, config):
    print("training", flush=True)
    while config["hold"] and not os.path.exists(config["hold"]):
        time.sleep(0.02)
    time.sleep(config["pause"])
    return {"w": planted("planted update", config["size"])}, 1, {"loss": 1.0}

def evaluate(model, data, config):
    return 1, {"score": 1.0}
"""
)
SMALL, BIG = 300, 800_000  # numbers: 1.2 kB ride in letters, 3.2 MB are cargo of several chunks


def planted(label: str) -> bytes:
    """The 32 bytes that repeat in the planted weights."""
    space: dict[str, Any] = {}
    exec(_PLANTED, space)
    return bytes(space["planted"](label, 8).tobytes())


def workload(rounds: int = 2, size: int = SMALL, pause: float = 0.0, hold: str = "") -> bytes:
    """``hold`` is a file: the first round waits until it exists. Every round takes ``pause``."""
    text = f'name = "planted"\nmodule = "work.py"\nrounds = {rounds}\n'
    text += f"[config]\nsize = {size}\npause = {pause}\nhold = {json.dumps(hold)}\n"
    return pack_files({"plain.toml": text.encode(), "work.py": _WORK.encode()})


#: 4 MB: cargo of four chunks. Nothing else that passes the line in a job is a tenth of it.
NUMBERS = 1_000_000
_NOISE_WORK = """
import os, time
import numpy as np

def initial(config):
    return {"w": np.zeros(NUMBERS, np.float32)}

def train(model, data, config):
    time.sleep(config["pause"])
    site = int(os.getcwd().partition("site-")[2][0])
    noise = np.random.default_rng(site).standard_normal(NUMBERS, np.float32)
    return {"w": model["w"] * np.float32(0.5) + noise}, site, {}

def evaluate(model, data, config):
    return 1, {}
""".replace("NUMBERS", str(NUMBERS))


def noise(rounds: int = 2, pause: float = 0.0) -> tuple[bytes, np.ndarray[Any, Any]]:
    """A job of sites 1 and 2 in which every update counts, and the weights that it must have."""
    toml = f'name = "noise"\nmodule = "work.py"\nrounds = {rounds}\n'
    toml += f"[config]\npause = {pause}\n"
    archive = pack_files({"plain.toml": toml.encode(), "work.py": _NOISE_WORK.encode()})
    noises = [np.random.default_rng(n).standard_normal(NUMBERS, np.float32) for n in (1, 2)]
    model = Model.from_numpy({"w": np.zeros(NUMBERS, np.float32)})
    for _ in range(rounds):
        half = model.numpy()["w"] * np.float32(0.5)
        updates = [Model.from_numpy({"w": half + one}) for one in noises]
        model = weighted_mean([(updates[0], 1.0), (updates[1], 2.0)])
    return archive, model.numpy()["w"]


Way = Literal["up", "down"]


class Line:
    """TCP between a peer and its gateway, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._cuts: dict[Way, int] = {}
        self.cut = 0
        #: Connections pass nothing on, and nothing says so.
        self.silent = False
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        async def serve() -> None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
            ready.set()

        self._loop.run_until_complete(serve())
        self._loop.run_forever()

    def cut_after(self, size: int, way: Way) -> None:
        """Reset the connection that passes so many more bytes that way, once."""
        self._cuts[way] = size

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        both = (writer, back)
        await asyncio.gather(
            self._pass(reader, back, "up", both), self._pass(there, writer, "down", both)
        )

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Way, both: Any
    ) -> None:
        try:
            while data := await source.read(64 * 1024):
                if way in self._cuts:
                    self._cuts[way] -= len(data)
                    if self._cuts[way] <= 0:
                        del self._cuts[way]
                        self.cut += 1
                        self._reset(both)
                        return
                if not self.silent:
                    sink.write(data)
                    await sink.drain()
        except OSError:
            pass
        for writer in both:
            writer.close()

    @staticmethod
    def _reset(both: tuple[asyncio.StreamWriter, ...]) -> None:
        for writer in both:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class Bench:
    """A running federation, and questions about its jobs."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        #: By peer, where a test asked for them.
        self.lines: dict[str, Line] = {}
        self.recipient = RecipientKey.generate()
        self.folder = federation.dir

    def submit(self, archive: bytes, **options: Any) -> str:
        from fedgate_gateway.dev.files import recipient_key

        options.setdefault("recipient", recipient_key(self.federation.layout).public_raw)
        told = self.federation.client.submit(archive, **options)
        return str(told["id"])

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.federation.client.job(job)["job"])

    def wait(self, job: str, seconds: float = 60) -> dict[str, Any]:
        """The job once it has ended."""
        return self.until(lambda: (j := self.job(job))["state"] in FINAL and j, seconds)

    def training(self, job: str, seconds: float = 60) -> None:
        """Returns once every site's worker is in its first task."""
        layout = self.federation.layout
        logs = [layout.state(site) / "logs" / f"{job}.log" for site in self.federation.sites]

        def begun() -> bool:
            assert self.job(job)["state"] not in FINAL, self.job(job)
            return all(log.exists() and "training" in log.read_text() for log in logs)

        self.until(begun, seconds)

    @staticmethod
    def until(done: Callable[[], Any], seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := done()):
            assert time.monotonic() < deadline, f"waited {seconds} s"
            time.sleep(0.03)
        return found

    def weights(self, job: str, into: Path) -> np.ndarray[Any, Any]:
        return self.arrays(job, into)["w"]

    def arrays(self, job: str, into: Path) -> Mapping[str, np.ndarray[Any, Any]]:
        """Of the model that it released to us."""
        from fedgate_gateway.cli.results import fetch_all
        from fedgate_gateway.cli.submissions import Submissions

        mine = Submissions(self.federation.profile_path)
        fetched = fetch_all(self.federation.client, job, into / job, submissions=mine)
        (path,) = [Path(f.path) for f in fetched if f.kind == "model"]
        return Model.parse(path.read_bytes()).numpy()

    def site_files(self, job: str, into: Path) -> dict[str, dict[str, bytes]]:
        """Site -> name -> content of what it released to us."""
        from fedgate_gateway.cli.results import fetch_all
        from fedgate_gateway.cli.submissions import Submissions

        mine = Submissions(self.federation.profile_path)
        fetched = fetch_all(self.federation.client, job, into / job, submissions=mine)
        folders = [Path(f.path) for f in fetched if f.kind == "site_files"]
        return {
            folder.name: {
                str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
            }
            for folder in folders
        }

    def events(self, job: str, kind: str) -> list[dict[str, Any]]:
        return [dict(e.data) for e in self.federation.client.events(job) if e.kind == kind]

    def audit(self, job: str, kind: str) -> list[dict[str, Any]]:
        """Entries of one kind; those of peers arrive a moment after the job's end."""
        found = self.federation.client.audit_entries(job=job, kind=kind, limit=1000)["entries"]
        return [dict(e) for e in found]

    def order(self, **order: Any) -> None:
        """What the hostile gateway does next."""
        path = self.folder / "order.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(order))
        temporary.replace(path)

    def children(self, program: str) -> list[psutil.Process]:
        """Processes that a program has started for jobs, with all of theirs."""
        process = psutil.Process(self.federation.programs[program].pid)
        return [p for p in process.children(recursive=True) if p.name() != "inspection"]


def through_lines(bench: Bench) -> None:
    """Every peer gets a line of its own to the gateway."""
    for path in (bench.folder / "enclave.toml", *bench.folder.glob("site-*.toml")):
        text = path.read_text()
        found = re.search(r'^gateway = ".*:(\d+)"', text, re.MULTILINE)
        assert found is not None
        line = bench.lines[path.stem] = Line(int(found[1]))
        path.write_text(text.replace(f":{found[1]}", f":{line.port}"))


def write_gateway(federation: Federation, adapters: Sequence[str], settings: str) -> None:
    path = federation.layout.gateway
    path.parent.mkdir(parents=True)
    nothing: Any = {"datasets": (), "runtime": {}}
    Writer(federation.layout, federation.sites, adapters=adapters, **nothing).gateway()
    path.write_text(settings + path.read_text())


@pytest.fixture(scope="session")
def make_workload() -> Callable[..., bytes]:
    return workload


@pytest.fixture(scope="session")
def make_noise() -> Callable[..., tuple[bytes, np.ndarray[Any, Any]]]:
    return noise


@pytest.fixture(scope="session")
def planted_bytes() -> Callable[[str], bytes]:
    return planted


@pytest.fixture(scope="session")
def bench_of() -> Callable[[Federation], Bench]:
    """Of a federation that is running already."""
    return Bench


@pytest.fixture(scope="module")
def make_bench(
    tmp_path_factory: pytest.TempPathFactory, quick_programs: Callable[[], Any]
) -> Iterator[Callable[..., Bench]]:
    """``make_bench("hostile_gateway", sites=3, edit={...})``: a federation with another program;
    with ``lines``, through connections that a test can break. ``settings`` are lines of TOML that
    the gateway has from its first start.
    """
    made: list[Federation] = []
    benches: list[Bench] = []

    def build(
        *,
        sites: int,
        lines: bool = False,
        gateway: str = "",
        every: str = "",
        programs: Mapping[str, str] | None = None,
        adapters: Sequence[str] = ("plain",),
        settings: str = "",
        edit: Callable[[Path], None] | None = None,
    ) -> Bench:
        folder = tmp_path_factory.mktemp("pipeline")
        federation = Federation(
            folder / "federation", sites=sites, adapters=adapters, examples=False,
            sandbox="process",
        )  # fmt: skip
        made.append(federation)
        bench = Bench(federation)
        benches.append(bench)
        if settings:
            write_gateway(federation, adapters, settings)
        if lines or edit is not None:  # in files that are there, before anybody reads them
            federation.prepare()
        if edit is not None:
            edit(federation.dir)
        if lines:
            through_lines(bench)
        for name, program in federation.programs.items():
            other = every or (programs or {}).get(name, gateway if name == "gateway" else "")
            if other:
                program.command = (sys.executable, str(PROGRAMS / f"{other}.py"))
        federation.start()
        return bench

    with quick_programs():
        yield build
    for federation in made:
        federation.stop()
    for bench in benches:
        for line in bench.lines.values():
            line.close()
