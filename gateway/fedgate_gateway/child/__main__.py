"""Entry of a child process: ``python -m fedgate_gateway.child FD``.

The parent's first message says what to be. Limits are set here, before any code of the workload
is loaded; in a sandbox without capabilities they cannot be raised again.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgpack

from fedgate.adapter import SiteContext, Workload
from fedgate.errors import FedgateError
from fedgate.manifest import Manifest
from fedgate.plugins import load_adapter
from fedgate_gateway.child import guardian, wire
from fedgate_gateway.child.port import Port
from fedgate_gateway.child.work import run_coordinator, run_worker

_PR_SET_PDEATHSIG = 1


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)  # programs that the workload starts have no business with it
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Threads of ours hand over quickly; the default of 5 ms shows in every small round.
    sys.setswitchinterval(5e-4)
    first = wire.receive(sock)
    if first is None:
        return
    start: dict[str, Any] = msgpack.unpackb(first.blob)
    if not start["confined"]:
        guardian.start(sock)
    _limit(start["limits"])
    scratch = Path(start["scratch"])
    os.chdir(scratch)
    Path(os.environ["TMPDIR"]).mkdir(exist_ok=True)
    if start["shows_scratch"]:
        _show_scratch(sock)
    port = Port(sock)
    workload = Workload(
        job=start["job"],
        root=Path(start["root"]),
        scratch=scratch,
        manifest=Manifest.from_dict(start["manifest"]),
        config=start["config"],
        sites=tuple(start["sites"]),
    )
    try:
        adapter = load_adapter(workload.manifest.framework, allowed=start["adapters"])
    except FedgateError as error:
        port.send("failed", error=error.to_dict())
        return
    gc.freeze()
    if start["role"] == "coordinator":
        run_coordinator(port, adapter, workload)
    else:
        run_worker(port, adapter, workload, _site(start))


def _show_scratch(sock: socket.socket) -> None:
    """It is a file system of our sandbox: the parent sees it by no path of its own."""
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY)
    wire.send(sock, wire.Message({"t": "scratch"}, fd=folder))
    os.close(folder)


def _site(start: dict[str, Any]) -> SiteContext:
    return SiteContext(
        name=start["site"],
        index=start["index"],
        sites=tuple(start["sites"]),
        state=Path(start["state"]),
        datasets={k: Path(v) for k, v in start["datasets"].items()},
        settings=start["settings"],
        trainers=Path(start["trainers"]) if start["trainers"] else None,
    )


def _limit(limits: dict[str, int]) -> None:
    for name, kind in (
        ("memory_bytes", resource.RLIMIT_AS),
        ("cpu_seconds", resource.RLIMIT_CPU),
        ("open_files", resource.RLIMIT_NOFILE),
        ("file_bytes", resource.RLIMIT_FSIZE),
    ):
        if limits.get(name):
            resource.setrlimit(kind, (limits[name], limits[name]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold weights


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks leave threads behind that would keep a finished child alive.
    os._exit(0)
