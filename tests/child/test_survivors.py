"""No process of a job survives it, whatever it does to stay: both sandboxes, our own worker."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate import plugins
from fedgate.errors import FedgateError
from fedgate_gateway.child import host
from fedgate_gateway.sandbox.contract import Sandbox

pytestmark = pytest.mark.e2e

_DAEMONS = """
import ctypes, os, signal, subprocess, sys, time
SLEEP = ["sleep", "{length}"]
def setsid():
    subprocess.Popen(SLEEP, start_new_session=True)
def double_fork():  # as daemon(3): two forks, a session of its own, no descriptor kept
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 4096)
            os.execvp(SLEEP[0], SLEEP)
        os._exit(0)
    os.wait()
def deaf():  # it ignores what can be ignored, and takes the death of its parent for no news
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(1, 0)
        os.closerange(0, 4096)
        os.execvp(SLEEP[0], SLEEP)
def breeder():  # a chain: each forks the next and ends
    if os.fork() == 0:
        os.setsid()
        os.closerange(0, 4096)
        end = time.monotonic() + 50
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)
            time.sleep(0.0005)
        os._exit(0)
"""
#: What a workload without a sandbox can also do: its guardian is its own user's.
_PATRICIDE = """
double_fork()
ctypes.CDLL(None).prctl(1, 0)
while not os.path.exists("now"):
    time.sleep(0.01)
os.kill(os.getppid(), signal.SIGKILL)
time.sleep(60)
"""
_FREEZE = """
double_fork()
os.kill(os.getppid(), signal.SIGSTOP)
def train(model, data, config): return model, 1, {}
"""
#: It stops it again whenever it is told to go on.
_HARASS = """
double_fork()
guardian = os.getppid()
if os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(1, 0)
    end = time.monotonic() + 50
    while time.monotonic() < end:
        os.kill(guardian, signal.SIGSTOP)
    os._exit(0)
def train(model, data, config): return model, 1, {}
"""
_TRAIN = "\ndef train(model, data, config): return model, 1, {}\n"


def sandbox(name: str) -> Sandbox:
    found = plugins.load("fedgate.sandboxes", name)
    if reason := found.unavailable():
        pytest.skip(reason)
    assert isinstance(found, Sandbox)
    return found


def below(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if marker.encode() in line.split(b"\0") and state != "Z":
            found.append(int(entry.name))
    return found


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def length() -> str:
    """A sleep that is nobody else's."""
    return f"6{os.getpid()}.25"


@pytest.mark.parametrize("how", ["stop", "kill", "crash"])
@pytest.mark.parametrize("name", ["process", "bubblewrap"])
def test_daemons_end_with_the_child(
    worker: Callable[..., Any], length: str, name: str, how: str, tmp_path: Path
) -> None:
    code = _DAEMONS.replace("{length}", length) + "setsid(); double_fork(); deaf(); breeder()\n"

    async def go() -> int:
        watched = worker(code + _TRAIN, sandbox(name))
        await watched.heard("ready")
        await until(lambda: len(below(length)) == 3)
        if how == "stop":
            await watched.child.stop()
        elif how == "kill":
            watched.child.kill()
        else:  # the process that works, as the kernel would end it for want of memory
            pythons = [
                p for p in workers(tmp_path) if "python" in str(Path(f"/proc/{p}/exe").readlink())
            ]
            os.kill(pythons[name == "process"], 9)
        await watched.end()
        return watched.child.pid

    asyncio.run(go())
    # At the moment at which the child counts as ended, and not some time after.
    assert below(length) == []
    assert workers(tmp_path) == []


@pytest.mark.parametrize(
    "code", [_PATRICIDE, _FREEZE, _HARASS], ids=["killed", "stopped", "kept stopped"]
)
def test_daemons_end_when_the_work_turns_against_its_guardian(
    worker: Callable[..., Any],
    length: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "_GUARDIAN_SECONDS", 0.5)

    async def go() -> FedgateError | None:
        watched = worker(_DAEMONS.replace("{length}", length) + code, sandbox("process"))
        await until(lambda: below(length))
        if code is not _PATRICIDE:
            await watched.heard("ready")
            watched.child.kill()
        else:
            (tmp_path / "scratch" / "now").touch()
        error: FedgateError | None = await watched.end()
        return error

    assert "SIGKILL" in str(asyncio.run(go()))
    assert below(length) == []
    assert workers(tmp_path) == []


def workers(folder: Path) -> list[int]:
    """Processes of the child (its guardian first), by the folder they work in."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = (entry / "cwd").readlink()
            state, started = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0:20:19]
        except OSError:
            continue
        if folder in where.parents and state != "Z":
            found.append((int(started), int(entry.name)))
    return [pid for _, pid in sorted(found)]
