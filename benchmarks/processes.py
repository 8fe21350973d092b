"""Starting programs, waiting with a bound, and ending exactly what was started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil


class TooSlow(RuntimeError):
    """Something did not happen in time; the message says what."""


def free_ports(count: int) -> list[int]:
    """Ports that the system says are free now; held together so that they differ."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            found.append(int(sock.getsockname()[1]))
        return found


@contextlib.contextmanager
def program(
    command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own; it and all that it started end with the block."""
    cwd.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience: float = 8) -> None:
    """SIGTERM, then SIGKILL, to a process we started and to its descendants."""
    family = tree(process.pid)
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.send_signal(signum)
        _, family = psutil.wait_procs(family, timeout=patience)
        if not family:
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1)


def tree(pid: int) -> list[psutil.Process]:
    """A process and its living descendants."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_for(what: str, ready: Callable[[], bool], seconds: float, every: float = 0.2) -> None:
    """Poll ``ready`` until it is true; raises :class:`TooSlow` after ``seconds``."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise TooSlow(f"{what}: not within {seconds:.0f} s")
        time.sleep(every)


def listening(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def tail(path: Path, lines: int = 25) -> str:
    if not path.is_file():
        return f"({path.name} does not exist)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
