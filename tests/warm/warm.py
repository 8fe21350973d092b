"""Processes whose imports are paid once for many: they are forks of one that has them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate_gateway.child import adopted

HERE = Path(__file__).parent
#: How the host of a job's processes starts one without a sandbox.
_CHILD = [sys.executable, "-P", "-m", "fedgate_gateway.child"]


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class WarmCommand:
    """``command("ls", "gw")``: an installed script, without seconds of imports each time."""

    def __init__(self, script: Path, cwd: Path, env: dict[str, str], seconds: float = 120) -> None:
        self._started = [sys.executable, HERE / "warm_command.py", script]
        self._cwd, self._env, self._seconds = cwd, env, seconds
        self._process: subprocess.Popen[str] | None = None
        self._one_at_a_time = threading.Lock()

    def __call__(self, *arguments: object, cwd: Path | None = None) -> Ran:
        with tempfile.TemporaryDirectory() as folder:
            self._send(json.dumps([list(map(str, arguments)), str(cwd or self._cwd), folder]))
            code, deadline = Path(folder, "code"), time.monotonic() + self._seconds
            while not code.exists():
                assert time.monotonic() < deadline, f"{arguments}: longer than {self._seconds} s"
                time.sleep(0.01)
            texts = [Path(folder, name).read_text() for name in ("out", "err")]
            return Ran(int(code.read_text()), *texts)

    def _send(self, call: str) -> None:
        with self._one_at_a_time:
            if self._process is None:
                self._process = subprocess.Popen(
                    self._started, cwd=self._cwd, env=self._env,
                    stdin=subprocess.PIPE, text=True, start_new_session=True,
                )  # fmt: skip
            print(call, file=self._process.stdin, flush=True)

    def close(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


class Template:
    """The process that child processes of ours are forked from; each is then a child of this one.

    Nothing else is different from how they start by themselves: pid, parent, session, descriptors,
    environment and folder are what they would be. This process must adopt orphans by then, as the
    host of unguarded children does.
    """

    def __init__(self, *modules: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._one_at_a_time = ours, threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", HERE / "template.py", str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        adopted.expect(self._process.pid)

    def fork(self, call: dict[str, Any], fds: list[int]) -> int:
        """The pid of what runs ``call`` with these descriptors."""
        with self._one_at_a_time:
            socket.send_fds(self._control, [json.dumps(call).encode()], fds)
            told = self._control.recv(100)
        assert told, "the process to fork from has ended"
        return int(told)

    def close(self) -> None:
        self._control.close()
        self._process.wait(60)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Child processes that this process starts without a sandbox are forked meanwhile."""
        ours = SimpleNamespace(Popen=self.popen, DEVNULL=subprocess.DEVNULL)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("fedgate_gateway.child.host.subprocess", ours)
            yield

    def popen(self, args: list[str], **options: Any) -> subprocess.Popen[bytes]:
        """``subprocess.Popen``, as the host calls it."""
        if list(args[:-1]) != _CHILD or options["env"].get("PYTHONPATH"):
            return subprocess.Popen(args, **options)
        return Forked(self, args, **options)


class Forked(subprocess.Popen[bytes]):
    """A process that was not started by this module's own way."""

    def __init__(
        self, template: Template, args: list[str], *, env: dict[str, str], cwd: Path,
        pass_fds: list[int], stdin: int, stdout: int, stderr: int, start_new_session: bool,
    ) -> None:  # fmt: skip
        assert start_new_session
        assert stdin == subprocess.DEVNULL
        self._waitpid_lock = threading.Lock()
        self.args, self.returncode, self._child_created = args, None, True
        self.stdin = self.stdout = self.stderr = None
        call = {"argv": args[2:], "env": env, "cwd": str(cwd), "targets": [1, 2, *pass_fds]}
        self.pid = template.fork(call, [stdout, stderr, *pass_fds])
