"""Entry of a child process: ``python -m fedgate_gateway.child FD``.

The parent's first message says what to be. Limits are set here, before any code of the workload
is loaded; in a sandbox without capabilities they cannot be raised again.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack

from fedgate.adapter import SiteContext, Workload
from fedgate.errors import FedgateError
from fedgate.manifest import Manifest
from fedgate.plugins import load_adapter
from fedgate_gateway.child import guardian, kernel, wire
from fedgate_gateway.child.port import Port
from fedgate_gateway.child.work import run_coordinator, run_worker


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)  # programs that the workload starts have no business with it
    kernel.end_with_parent(signal.SIGKILL)
    kernel.leave_keyring()
    _first_to_go()
    # Threads of ours hand over quickly; the default of 5 ms shows in every small round.
    sys.setswitchinterval(5e-4)
    first = wire.receive(sock)
    if first is None:
        return
    start: dict[str, Any] = msgpack.unpackb(first.blob)
    if not start["confined"]:
        guardian.start(sock)
    _limit(start["limits"], confined=start["confined"])
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


def _first_to_go() -> None:
    """When the machine has no memory left, the kernel ends workloads before programs of ours."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _limit(limits: dict[str, int], *, confined: bool) -> None:
    for name, kind in (
        ("memory_bytes", resource.RLIMIT_AS),
        ("cpu_seconds", resource.RLIMIT_CPU),
        ("open_files", resource.RLIMIT_NOFILE),
        ("file_bytes", resource.RLIMIT_FSIZE),
    ):
        if limits.get(name):
            resource.setrlimit(kind, (limits[name], limits[name]))
    if confined and limits.get("processes") and kernel.version() >= (5, 14):
        # Counted for each user namespace, so only in one of its own is it this child's alone; and
        # since Linux 5.14 only. Before, it would count all that this user runs on the machine.
        with suppress(ValueError):  # it is lower already
            resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold weights


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Frameworks leave threads behind that would keep a finished child alive.
    os._exit(0)
