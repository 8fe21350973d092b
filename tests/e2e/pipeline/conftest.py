"""Federations for attacks, kills and searches, with small workloads of the plain framework."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from fedgate.bundle import pack_files
from fedgate_gateway.dev import Federation
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


class Bench:
    """A running federation, and questions about its jobs."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
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
        """Processes that a program has started, with all of theirs."""
        process = psutil.Process(self.federation.programs[program].pid)
        return process.children(recursive=True)


@pytest.fixture(scope="session")
def make_workload() -> Callable[..., bytes]:
    return workload


@pytest.fixture(scope="session")
def planted_bytes() -> Callable[[str], bytes]:
    return planted


@pytest.fixture(scope="module")
def make_bench(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Bench]]:
    """``make_bench("hostile_gateway", sites=3, edit={...})``: a federation with another program."""
    made: list[Federation] = []

    def build(
        *,
        sites: int,
        gateway: str = "",
        every: str = "",
        programs: Mapping[str, str] | None = None,
        edit: Callable[[Path], None] | None = None,
    ) -> Bench:
        folder = tmp_path_factory.mktemp("pipeline")
        federation = Federation(
            folder / "federation", sites=sites, adapters=("plain",), examples=False,
            sandbox="process",
        )  # fmt: skip
        made.append(federation)
        if edit is not None:  # in files that are there, before anybody reads them
            federation.prepare()
            edit(federation.dir)
        for name, program in federation.programs.items():
            other = every or (programs or {}).get(name, gateway if name == "gateway" else "")
            if other:
                program.command = (sys.executable, str(PROGRAMS / f"{other}.py"))
        federation.start()
        return Bench(federation)

    yield build
    for federation in made:
        federation.stop()
