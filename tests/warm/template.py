"""``python template.py FD MODULE…``: imports the modules, and becomes other processes by forks.

Each message on FD is one: arguments, environment, working directory, and which descriptors it
gets. It is answered with the pid. The new process is an orphan at once, and so comes to whoever
asked, who adopts orphans.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def become(call: dict[str, Any], fds: list[int], parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.0005)
    os.setsid()
    targets = call["targets"]
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, max(targets) + 1) for fd in fds]
    for fd, target in zip(moved, targets, strict=True):
        os.dup2(fd, target)
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd not in targets:
            with suppress(OSError):  # that of the list itself
                os.close(fd)
    os.chdir(call["cwd"])
    os.environ.clear()
    os.environ.update(call["env"])
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)
    what, *arguments = call["argv"]
    if what == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [what, *arguments]
        sys.path.insert(0, str(Path(what).parent))
        runpy.run_path(what, run_name="__main__")


def fork(call: dict[str, Any], fds: list[int]) -> int:
    """0 in the new process, its pid here."""
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent, born = os.getpid(), os.fork()
        if born == 0:
            become(call, fds, parent)
            return 0
        os.write(write, str(born).encode())
        os._exit(0)
    told = int(os.read(read, 20))
    for end in (read, write):
        os.close(end)
    os.waitpid(middle, 0)
    return told


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    for module in sys.argv[2:]:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    while True:
        data, fds, _, _ = socket.recv_fds(control, 1 << 20, 8)
        if not data or (born := fork(json.loads(data), fds)) == 0:
            return
        for fd in fds:
            os.close(fd)
        control.send(str(born).encode())


main()
