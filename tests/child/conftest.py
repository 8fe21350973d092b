"""Real child processes: either ours with the plain adapter, or a hostile one from a few lines."""

from __future__ import annotations

import asyncio
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedgate.errors import FedgateError
from fedgate.manifest import Manifest
from fedgate_gateway.child.host import Child, ChildSpec, Incoming
from fedgate_gateway.config import ChildLimits, Runtime
from fedgate_gateway.sandbox.contract import Confinement, Sandbox

_PRELUDE = """
import fcntl, os, signal, socket, struct, subprocess, sys, time
import msgpack
sock = socket.socket(fileno=int(sys.argv[1]))
def datagram(header, blob=b""):
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + blob
def say(header, blob=b"", fd=None):
    socket.send_fds(sock, [datagram(header, blob)], [] if fd is None else [fd])
def memfd(size, seals=fcntl.F_SEAL_SHRINK):
    fd = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd
sock.recv(1 << 20)
"""


class Impostor(Sandbox):
    """Starts other code in place of the child's own: a child that was taken over."""

    name = "impostor"
    confines = True

    def __init__(self, code: str) -> None:
        self.code = _PRELUDE + textwrap.dedent(code)

    def unavailable(self) -> str | None:
        return None

    def command(self, argv: Sequence[str], confinement: Confinement) -> list[str]:
        return [sys.executable, "-c", self.code, argv[-1]]


class Watched:
    """A child, and everything its parent hears of it."""

    def __init__(
        self,
        folder: Path,
        sandbox: Sandbox,
        *,
        crowded: Callable[[], bool] = lambda: False,
        scratch_bytes: int = 0,
        **limits: Any,
    ) -> None:
        self.folder = folder
        self.messages: list[tuple[dict[str, Any], bytes]] = []
        self.log = b""
        self.ends: list[FedgateError | None] = []
        self.over: asyncio.Future[FedgateError | None] = asyncio.get_running_loop().create_future()
        limits.setdefault("stop_seconds", 0.5)
        self.child = Child(
            ChildSpec(
                role="worker",
                job="job-1",
                manifest=Manifest("plain", "test", entry_points={"worker": "work.py"}),
                root=folder / "bundle",
                scratch=folder / "scratch",
                sites=["site-1"],
                adapters=["plain"],
                site="site-1",
                state=folder / "state",
                part_bytes=1 << 20,
                scratch_bytes=scratch_bytes,
            ),
            Runtime(sandbox="process", limits=ChildLimits(**limits)),
            sandbox,
            on_message=self._hear,
            on_end=self._end,
            log=folder / "log",
            on_log=self._log,
            crowded=crowded,
        )

    def _hear(self, incoming: Incoming) -> None:
        self.messages.append((incoming.header, incoming.note))
        incoming.release()

    def _end(self, error: FedgateError | None) -> None:
        self.ends.append(error)
        self.over.set_result(error)

    def _log(self, data: bytes) -> None:
        self.log += data

    async def end(self, seconds: float = 60) -> FedgateError | None:
        """How it ended; kills it when it does not."""
        try:
            return await asyncio.wait_for(asyncio.shield(self.over), seconds)
        except TimeoutError:
            self.child.kill()
            await self.over
            pytest.fail(f"the child did not end within {seconds} s")

    async def heard(self, kind: str, seconds: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while True:
                for header, _ in self.messages:
                    if header["t"] == kind:
                        return header
                await asyncio.sleep(0.01)


@pytest.fixture
def ends() -> Callable[[int], bool]:
    """Has this process ended, or does it soon? A zombie has."""

    def wait(pid: int, seconds: float = 60) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
            except OSError:
                return True
            if state == "Z":
                return True
            time.sleep(0.01)
        return False

    return wait


@pytest.fixture
def impostor(tmp_path: Path) -> Callable[..., Watched]:
    """A child that runs the given lines, after the start message, in place of ours."""
    (tmp_path / "bundle").mkdir()
    return lambda code, **limits: Watched(tmp_path, Impostor(code), **limits)


@pytest.fixture
def worker(tmp_path: Path) -> Callable[..., Watched]:
    """Our own child with the plain adapter and the given ``work.py``."""
    from fedgate_gateway.sandbox.process import UnconfinedProcess

    def start(code: str, sandbox: Sandbox | None = None, **limits: Any) -> Watched:
        (tmp_path / "bundle").mkdir()
        (tmp_path / "state").mkdir()
        (tmp_path / "bundle" / "work.py").write_text(textwrap.dedent(code))
        return Watched(tmp_path, sandbox or UnconfinedProcess(), **limits)

    return start
