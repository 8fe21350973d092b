"""Workloads that say all that they can, and a search that finds it however it is written."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import pack_files
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.profile import load_profile

WORKLOADS = Path(__file__).parent / "workloads"
#: A number that is searched for may begin or end with some of these.
_PADDING = bytes(8)
_PYPROJECT = """
[project]
name = "sayer"
version = "1.0.0"
dependencies = ["flwr>=1.41,<2", "numpy"]
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "sayer.flower_server:app"
clientapp = "sayer.flower_client:app"
[tool.flwr.app.config]
ends = "well"
"""


def _files(folder: str, *names: str) -> dict[str, bytes]:
    return {f"{folder}{n}.py": (WORKLOADS / f"{n}.py").read_bytes() for n in ("plants", *names)}


def plain(ends: str, *, rounds: int, size: int = 300, pause: float = 0.0) -> bytes:
    """Its module is loaded by its path: what it imports stands in it."""
    config = f"size = {size}\npause = {pause}\nends = {json.dumps(ends)}\n"
    toml = f'name = "sayer"\nmodule = "work.py"\nrounds = {rounds}\n[config]\n{config}'
    files = _files("", "plain_work")
    work = files["plants.py"] + files["plain_work.py"].replace(b"from plants import", b"# from")
    return pack_files({"plain.toml": toml.encode(), "work.py": work})


def flower() -> bytes:
    files = {"pyproject.toml": _PYPROJECT.encode(), "sayer/__init__.py": b""}
    return pack_files({**files, **_files("sayer/", "flower_server", "flower_client")})


def flare(ends: str) -> bytes:
    meta = {"name": "sayer", "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
    common: dict[str, Any] = {
        "format_version": 2, "task_data_filters": [], "task_result_filters": [], "components": [],
    }  # fmt: skip
    workflow = {"id": "w", "path": "flare_workflow.Workflow", "args": {"ends": ends}}
    executor = {"path": "flare_executor.Unmade", "args": {"ends": ends}}
    configs = {
        "server": {**common, "workflows": [workflow]},
        "client": {**common, "executors": [{"tasks": ["*"], "executor": executor}]},
    }
    files = {f"app/config/config_fed_{role}.json": config for role, config in configs.items()}
    told = {name: json.dumps(data).encode() for name, data in {"meta.json": meta, **files}.items()}
    return pack_files({**told, **_files("app/custom/", "flare_workflow", "flare_executor")})


class Search:
    """For a word, two numbers and some weights, in every way that programs write them."""

    def __init__(self, word: str, number: int, round: int, weights: Mapping[str, bytes]) -> None:
        self._lower = {
            "text": word.encode(),
            "hexadecimal": word.encode().hex().encode(),
            "the number's digits": str(number)[1:13].encode(),
            "the number in hexadecimal": f"{number:x}".encode(),
            "the round's digits": str(round)[:7].encode(),
        }
        self._bytes = {
            # what both byte orders have in common
            "UTF-16": word.encode("utf-16-le")[:-1],
            "UTF-32": word.encode("utf-32-le")[:-3],
            **{f"base64, {k} bytes in": _base64(word.encode(), k) for k in range(3)},
            **{f"the number as {f}": struct.pack(f, number) for f in ("<q", ">q", "<d", ">d")},
            **{f"the round as {f}": struct.pack(f, round) for f in ("<q", ">q", "<d", ">d")},
            "the round as MessagePack": b"\xce" + struct.pack(">I", round),
            # the pattern repeats: these stand in whatever piece of 47 bytes or more
            **{name: pattern[:16] for name, pattern in weights.items()},
        }
        #: In clear headers alone: in megabytes of ciphertext four bytes come up by chance.
        self._short = {f"the round as {f}": struct.pack(f, round) for f in ("<I", ">I")}

    def __call__(self, data: bytes, *, short: bool = False) -> dict[str, bytes]:
        """What was found -> what stands around it."""
        lower = data.lower()
        places = {name: lower.find(needle) for name, needle in self._lower.items()}
        places |= {name: data.find(needle) for name, needle in self._bytes.items()}
        if short:
            places |= {name: data.find(needle) for name, needle in self._short.items()}
        return {n: data[max(0, at - 60) : at + 120] for n, at in places.items() if at >= 0}


def _base64(data: bytes, shift: int) -> bytes:
    """Of what follows ``shift`` bytes: the characters that do not depend on its neighbours."""
    text = base64.b64encode(b"\0" * shift + data)
    return text[(8 * shift + 5) // 6 : 8 * (shift + len(data)) // 6]


def plants() -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec((WORKLOADS / "plants.py").read_text(), space)
    return space


@pytest.fixture(scope="session")
def search() -> Search:
    made = plants()
    labels = ("planted model", "planted update")
    weights = {label: made["planted"](label, 8).tobytes() for label in labels}
    return Search(made["WORD"], made["NUMBER"], made["ROUND"], weights)


@pytest.fixture(scope="session")
def workloads() -> dict[str, Callable[..., bytes]]:
    return {"plain": plain, "flower": flower, "flare": flare}


def memory_of(pid: int) -> Iterator[bytes]:
    """What a process has in its writable memory; of a stack, the part that was ever used."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            span, mode, *_ = line.split()
            start, end = (int(text, 16) for text in span.split("-"))
            if mode.startswith("rw"):
                memory.seek(start)
                try:
                    used = memory.read(end - start).strip(b"\0")
                except OSError:  # a device's, or gone meanwhile
                    continue
                if used:
                    yield _PADDING + used + _PADDING


@pytest.fixture(scope="session")
def everything() -> Callable[[Any, list[str]], dict[str, bytes]]:
    """``everything(bench, jobs)``: all that a gateway has received, kept, shown and said."""

    def gather(bench: Any, jobs: list[str]) -> dict[str, bytes]:
        federation = bench.federation
        state = federation.layout.state("gateway")
        found = {f"file {p.relative_to(state)}": p for p in state.rglob("*") if p.is_file()}
        found |= {p.name: p for p in bench.folder.glob("recorded-*")}
        programs = {name: federation.programs[name] for name in ("gateway", "enclave-1")}
        found |= {f"log of {name}": program.log for name, program in programs.items()}
        enclave = federation.layout.state("enclave-1")
        found |= {f"enclave's {p.name}": p for p in enclave.rglob("*") if p.is_file()}
        told = {name: path.read_bytes() for name, path in found.items()}
        with Client(load_profile(federation.layout.admin_profile)) as admin:
            told |= {f"shown: {path}": admin._http.get(path).content for path in _paths(jobs)}
        pid = programs["gateway"].pid
        told |= {f"memory {number}": data for number, data in enumerate(memory_of(pid))}
        return told

    return gather


def _paths(jobs: list[str]) -> list[str]:
    """Of the API, as whoever may see everything asks it."""
    of_jobs = [f"jobs/{j}{of}" for j in jobs for of in ("", "/events", "/outputs")]
    return ["/metrics", *(f"/api/v1/{path}" for path in ("jobs", "audit/export", *of_jobs))]
