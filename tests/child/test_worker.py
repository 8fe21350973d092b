"""Our own worker child: one result for each task, whatever the workload does."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate.model import Model
from fedgate.task import Failure, Result, Task, TaskKind
from fedgate_gateway.child import notes

pytestmark = pytest.mark.e2e
_WORK = """
import os, sys
import numpy as np
def train(model, data, config):
    {body}
"""
MODEL = Model.from_numpy({"w": np.arange(4, dtype=np.float32)})


def work(worker: Callable[..., Any], body: str, model: bytes | None = None) -> list[Result]:
    """The results of two tasks, the second of which is an ordinary one."""

    async def go() -> list[Result]:
        watched = worker(_WORK.format(body=body))
        await watched.heard("ready")
        for number in (1, 2):
            task = Task(f"t{number}", "site-1", TaskKind.TRAIN, config={"n": number})
            data = MODEL.to_bytes() if model is None or number == 2 else model
            watched.child.send("task", note=notes.task_note(task), model=data)
        async with asyncio.timeout(60):
            while sum(h["t"] == "result" for h, _ in watched.messages) < 2 and not watched.ends:
                await asyncio.sleep(0.01)
        await watched.child.stop()
        return [notes.read_result(n, None) for h, n in watched.messages if h["t"] == "result"]

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('no data today')", "no data today"),
        ("sys.exit(4)", "SystemExit(4)"),
        ("return model, 1, {'loss': 'high'}", "metrics must map"),
        ("return {'w' * 2000: model['w']}, 1, {}", "bad tensor name"),
        ("return {'w': np.array(['text'])}, 1, {}", "cannot be a tensor"),
        ("return None", "TypeError"),
        ("return {'w': model['w']}, -1, {}", "a count was expected"),
    ],
)
def test_what_a_workload_does_wrong_is_one_failed_task_and_the_next_is_done(
    worker: Callable[..., Any], body: str, reason: str
) -> None:
    body = f"if config['n'] == 2: return model, 1, {{}}\n    {body}"
    first, second = work(worker, body)
    assert first.error is not None
    assert first.error.failure is Failure.WORKLOAD
    assert reason in first.error.reason
    assert (second.task, second.ok) == ("t2", True)


def test_a_model_that_does_not_parse_ends_the_worker_instead_of_deafening_it(
    worker: Callable[..., Any],
) -> None:
    async def go() -> str:
        watched = worker(_WORK.format(body="return model, 1, {}"))
        await watched.heard("ready")
        note = notes.task_note(Task("t", "site-1", TaskKind.TRAIN))
        watched.child.send("task", note=note, model=b"garbage")
        return str(await watched.end())

    assert "not a model" in asyncio.run(go())


def test_an_array_that_the_workload_changes_in_place_does_not_change_the_parents(
    worker: Callable[..., Any],
) -> None:
    async def go() -> tuple[bytes, bytes]:
        watched = worker(_WORK.format(body="model['w'] += 1\n    return {}, 1, {}"))
        await watched.heard("ready")
        big = Model.from_numpy({"w": np.zeros(500_000, np.float32)}).to_bytes()
        buffer = watched.child.pool.take(len(big))
        buffer.view[:] = big
        note = notes.task_note(Task("t", "site-1", TaskKind.TRAIN))
        watched.child.send("task", note=note, model=buffer)
        await watched.heard("result")
        after = bytes(buffer.view)
        await watched.child.stop()
        return big, after

    before, after = asyncio.run(go())
    assert before == after


_PARENT = """
import asyncio, sys
from pathlib import Path
from fedgate.manifest import Manifest
from fedgate_gateway.child.host import Child, ChildSpec
from fedgate_gateway.config import Runtime
from fedgate_gateway.sandbox.choose import open_sandbox
folder = Path(sys.argv[1])
async def main():
    manifest = Manifest("plain", "t", entry_points={{"worker": "work.py"}})
    spec = ChildSpec(role="worker", job="j", manifest=manifest,
                     root=folder / "bundle", scratch=folder / "scratch", state=folder / "state",
                     sites=["a"], adapters=["plain"], site="a")
    Child(spec, Runtime(sandbox="{sandbox}"), open_sandbox("{sandbox}"),
          on_message=lambda m: print(m.type, flush=True),
          on_end=lambda e: print("ended", e, flush=True), log=folder / "log")
    await asyncio.sleep(60)
asyncio.run(main())
"""


def processes_below(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if marker.encode() in line and state != "Z" and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def children_in(folder: Path) -> list[int]:
    found = []
    for pid in processes_below("fedgate_gateway.child"):
        with suppress(OSError):
            if folder in Path(f"/proc/{pid}/cwd").readlink().parents:
                found.append(pid)
    return found


@pytest.mark.parametrize("sandbox", ["process", "bubblewrap"])
def test_when_a_parent_is_killed_its_child_and_grandchildren_end(
    tmp_path: Path, sandbox: str
) -> None:
    from fedgate import plugins

    reason = plugins.load("fedgate.sandboxes", sandbox).unavailable()
    if reason:
        pytest.skip(reason)
    for name in ("bundle", "state", "scratch"):
        (tmp_path / name).mkdir()
    length = f"6{os.getpid()}.125"  # a sleep of our own, recognisable by its length
    code = f"""
    import subprocess
    subprocess.Popen(["sleep", "{length}"])
    subprocess.Popen(["sleep", "{length}"], start_new_session=True)
    """
    (tmp_path / "bundle" / "work.py").write_text(textwrap.dedent(code))
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT.format(sandbox=sandbox), str(tmp_path)],
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n", (tmp_path / "log").read_text()
        deadline = time.monotonic() + 60
        while not processes_below(length) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes_below(length)
        os.kill(parent.pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while processes_below(length) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes_below(length) == []
        while children_in(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert children_in(tmp_path) == []
    finally:
        parent.kill()
        parent.wait()
        for pid in processes_below(length):
            os.kill(pid, signal.SIGKILL)
