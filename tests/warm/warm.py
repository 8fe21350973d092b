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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate_gateway.child import adopted

HERE = Path(__file__).parent
#: What starts a job's processes, and what starts programs.
CHILDREN, PROGRAMS = "fedgate_gateway.child.host", "fedgate_gateway.dev.program"


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
    """The process that others are forked from; each is then a child of this one.

    Nothing else is different from how they start by themselves: pid, parent, session, descriptors
    and environment are what they would be.
    """

    def __init__(self, *modules: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control, self._one_at_a_time = ours, threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", HERE / "template.py", str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        ours.settimeout(120)
        adopted.ask()  # forks are orphans at once
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
    def in_use(self, module: str) -> Iterator[None]:
        """What ``module`` starts is forked meanwhile: a job's processes, or programs."""
        ours = SimpleNamespace(**{**vars(subprocess), "Popen": self._popen})
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(f"{module}.subprocess", ours)
            yield

    def _popen(self, args: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        interpreter, *rest = map(str, args)
        if rest[0] == "-P":
            rest.pop(0)
        if interpreter == sys.executable and (rest[0] == "-m" or rest[0].endswith(".py")):
            return Forked(self, rest, **options)
        return subprocess.Popen(args, **options)  # in a sandbox


class Forked(subprocess.Popen[bytes]):
    """A process that was not started by this module's own way."""

    def __init__(
        self, template: Template, argv: list[str], *, env: dict[str, str], stdin: int, stdout: Any,
        stderr: Any, start_new_session: bool, cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        assert start_new_session
        self._waitpid_lock = threading.Lock()
        self.args, self.returncode, self._child_created = argv, None, True
        self.stdin = self.stdout = self.stderr = None
        if stdin == subprocess.PIPE:
            read, write = os.pipe()
            self.stdin = os.fdopen(write, "wb")
        else:
            read = os.open(os.devnull, os.O_RDONLY)
        out, err = (end if isinstance(end, int) else end.fileno() for end in (stdout, stderr))
        # By its folder it is known whose it is, as otherwise by its command line.
        folder = cwd or next((Path(a).parent for a in argv if a.endswith(".toml")), Path.cwd())
        call = {"argv": argv, "env": env, "cwd": str(folder), "targets": [0, 1, 2, *pass_fds]}
        try:
            self.pid = template.fork(call, [read, out, err, *pass_fds])
        finally:
            os.close(read)
