"""A second process beside an unconfined child: it ends the whole group when the parent is gone.

A child dies with its parent (``PR_SET_PDEATHSIG``), but processes that the child itself started do
not. In a sandbox with its own process namespace the kernel ends them; without one, this does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress


def start(sock: socket.socket) -> None:
    """Fork it, before any thread exists. It sleeps until the parent's end of ``sock`` closes."""
    if os.fork() != 0:
        return
    try:
        _wait(sock.fileno())
        os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(0)


def _wait(end: int) -> None:
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    with suppress(OSError):  # its own copies of the log's pipe must not keep that open
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
    poll = select.poll()
    poll.register(end, 0)  # nothing but the hang-up, which is always reported
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
