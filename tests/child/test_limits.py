"""What a child may take of the machine, all its processes together, and of its parent's keys."""

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate import plugins
from fedgate.codes import Code
from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.notice import Notice
from fedgate_gateway.sandbox.contract import Sandbox

pytestmark = pytest.mark.e2e
_MIB = 1 << 20


def sandbox(name: str) -> Sandbox:
    found: Sandbox = plugins.load("fedgate.sandboxes", name)
    if reason := found.unavailable():
        pytest.skip(reason)
    return found


def ended(worker: Callable[..., Any], code: str, name: str, **limits: Any) -> FedgateError | None:
    async def go() -> FedgateError | None:
        error: FedgateError | None = await worker(code, sandbox(name), **limits).end()
        return error

    return asyncio.run(go())


#: Each part is far below the limit; some hold it in ways that one look does not show.
_SPREAD = f"""
import mmap, os, time
for kind in range(6):
    if os.fork() == 0:
        if kind < 2:
            held = bytearray(60 * {_MIB})
        elif kind < 4:
            held = mmap.mmap(-1, 60 * {_MIB})  # shared with whoever is forked from here
            held.write(b"x" * (60 * {_MIB}))
        else:
            file = os.memfd_create("model")  # mapped by nobody
            for _ in range(60):
                os.write(file, b"x" * {_MIB})
        time.sleep(30)
time.sleep(30)
"""
#: Bounded: were it not stopped, it would end by itself at 400.
_BOMB = """
import os, time
for n in range(400):
    try:
        if os.fork() == 0:
            os.setsid()
            time.sleep(30)
            os._exit(0)
    except OSError:
        break
time.sleep(30)
"""


@pytest.mark.parametrize("name", ["process", "bubblewrap"])
def test_memory_counts_for_all_processes_together(worker: Callable[..., Any], name: str) -> None:
    error = ended(worker, _SPREAD, name, tree_memory_bytes=300 * _MIB)
    # Everybody hears of the limit, and not of what the workload made of it.
    assert error.notice == Notice(Code.TOO_MUCH_MEMORY, {"bytes": 300 * _MIB})
    assert isinstance(error, WorkloadFailed)
    assert "tree_memory_bytes" in str(error)


@pytest.mark.parametrize("kind", ["kind < 2", "kind in (2, 3)", "kind > 3"])
def test_each_way_to_hold_memory_counts(worker: Callable[..., Any], kind: str) -> None:
    code = _SPREAD.replace("for kind in range(6):", f"for kind in [k for k in range(6) if {kind}]:")
    code = code.replace("(6) if kind", "(6) if k").replace(" or kind", " or k")
    error = ended(worker, code, "process", tree_memory_bytes=100 * _MIB)
    assert "tree_memory_bytes" in str(error)


def test_what_processes_share_counts_once(worker: Callable[..., Any], tmp_path: Path) -> None:
    code = f"""
    import os, time
    import numpy
    held = bytearray(b"x" * (150 * {_MIB}))
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
    def train(model, data, config):
        return model, 1, {{}}
    """

    async def go() -> bool:
        watched = worker(code, sandbox("process"), tree_memory_bytes=400 * _MIB)
        await watched.heard("ready")
        await asyncio.sleep(0.8)
        alive = not watched.ends
        await watched.child.stop()
        return alive

    assert asyncio.run(go())


@pytest.mark.parametrize("name", ["process", "bubblewrap"])
def test_processes_count_together(worker: Callable[..., Any], name: str) -> None:
    error = ended(worker, _BOMB, name, processes=100)
    assert isinstance(error, WorkloadFailed)
    limit = Notice(Code.TOO_MANY_PROCESSES, {"limit": 100})
    assert error.notice == limit or os.getuid() != 0  # or it hit the wall


# -- keys ---------------------------------------------------------------------------------------

_KEYCTL, _ADD_KEY = 250, 248  # x86-64
_SESSION = -3


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of calls are x86-64's")
@pytest.mark.parametrize("name", ["process", "bubblewrap"])
def test_keys_of_the_session_stay_with_the_program(worker: Callable[..., Any], name: str) -> None:
    """A program's session keyring holds, say, the key of its disk."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_KEYCTL, 1, None)  # one for this test
    key = libc.syscall(_ADD_KEY, b"user", b"fedgate:test", b"secret", 6, _SESSION)
    if key < 0:
        pytest.skip(os.strerror(ctypes.get_errno()))
    ours = libc.syscall(_KEYCTL, 0, _SESSION, 0)
    code = f"""
    import ctypes
    libc = ctypes.CDLL(None)
    data = ctypes.create_string_buffer(100)
    print("session", libc.syscall(250, 0, -3, 0), flush=True)
    print("found", libc.syscall(250, 10, -3, b"user", b"fedgate:test", 0), flush=True)
    print("read", libc.syscall(250, 11, {key}, data, 100), data.value, flush=True)
    print("added", libc.syscall(248, b"user", b"mine", b"x", 1, -3), flush=True)
    print("written", libc.syscall(248, b"user", b"mine", b"x", 1, {ours}), flush=True)
    def train(model, data, config): return model, 1, {{}}
    """

    async def go() -> str:
        watched = worker(code, sandbox(name))
        await watched.heard("ready")
        await watched.child.stop()
        return str(watched.log.decode())

    told = dict(line.split(" ", 1) for line in asyncio.run(go()).splitlines())
    assert int(told["session"]) not in (ours, -1)
    assert told["found"] == "-1"
    assert told["read"] == "-1 b''"
    assert int(told["added"]) > 0
    assert told["written"] == "-1"
    assert libc.syscall(_KEYCTL, 10, _SESSION, b"user", b"mine", 0) == -1
