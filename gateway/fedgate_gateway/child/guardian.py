"""The process between a program and an unconfined child: no process of the job survives it.

A child dies with its parent (``PR_SET_PDEATHSIG``), but processes that the child itself started do
not, least of all those that left its session. In a sandbox with its own process namespace the
kernel ends them. Without one, the process that the program started becomes their guardian and
forks the one that does the work: orphans come to it (``PR_SET_CHILD_SUBREAPER``), and when the
work ends, or the program does, or the program says so (SIGTERM), it ends all of them.

What it cannot help is to be killed itself by the workload, which runs as the same user. Then the
orphans come to the program: see ``adopted``.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from fedgate_gateway.child import kernel
from fedgate_gateway.sandbox import family

#: Seconds after which processes that cannot be ended (they wait for a disk) are left.
_SECONDS = 30


def start(sock: socket.socket) -> None:
    """Fork, before any thread exists; returns in the process that does the work."""
    parent = os.pidfd_open(os.getppid())
    kernel.end_with_parent(0)
    kernel.adopt_orphans()
    guardian = os.getpid()
    work = os.fork()
    if work == 0:
        os.setsid()
        os.close(parent)
        kernel.end_with_parent(signal.SIGKILL)
        if os.getppid() != guardian:  # it ended before the line above
            os._exit(1)
        return
    try:
        _guard(sock, parent, work)
    finally:
        os._exit(1)


def exit_code(of_guardian: int) -> int:
    """The code of the work, negative for a signal as in ``subprocess``."""
    return 128 - of_guardian if of_guardian > 128 else of_guardian


def _guard(sock: socket.socket, parent: int, work: int) -> NoReturn:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    told_r, told_w = os.pipe()

    def tell(_number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):
            os.write(told_w, b"x")

    def reap(_number: int, _frame: FrameType | None) -> None:
        for pid in family.children(os.getpid()):
            if pid != work:
                with suppress(OSError):
                    os.waitpid(pid, os.WNOHANG)

    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, tell)
    signal.signal(signal.SIGCHLD, reap)
    with suppress(OSError):  # its own copies of the log's pipe must not keep that open
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
    done = os.pidfd_open(work)
    gone = select.poll()
    gone.register(sock.fileno(), 0)  # nothing but the hang-up, which is always reported
    if not gone.poll(0):  # if it has: the parent was gone before ``parent`` was opened
        sock.close()
        poll = select.poll()
        for end in (parent, done, told_r):
            poll.register(end, select.POLLIN)
        poll.poll()
    code = _code(work)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    family.end_all(tuple, _SECONDS)
    os._exit(code)


def _code(work: int) -> int:
    """Of the work, which is ended if it has not."""
    with suppress(ProcessLookupError):
        os.kill(work, signal.SIGKILL)
    _, status = os.waitpid(work, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
