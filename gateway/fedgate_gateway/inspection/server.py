"""The inspection server: one thread that forks for each bundle, and says how each child ended.

Its adapters were imported once, so that an inspection costs milliseconds. It never reads an archive
itself.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
from collections.abc import Collection
from dataclasses import dataclass

from fedgate.errors import PluginUnavailable
from fedgate.plugins import load_adapter
from fedgate_gateway.child import kernel
from fedgate_gateway.inspection import isolation, work

log = logging.getLogger(__name__)
#: Bytes of a request; descriptors beside it: the archive, and where the answer goes.
REQUEST_BYTES, DESCRIPTORS = 16_384, 2
_NAME = "inspection"


def load_adapters(names: Collection[str]) -> None:
    """Import them; one that cannot be loaded is told to whoever submits what it is needed for."""
    for name in names:
        with contextlib.suppress(PluginUnavailable):
            load_adapter(name, allowed=names)


def settle(control: socket.socket) -> None:
    """Let go of all that this process has from its program, but the socket and standard error: of
    its network, too.
    """
    kernel.name_process(_NAME)
    isolation.leave_network()
    gc.freeze()  # shared with our program, and with every inspection, as long as nobody touches it
    gc.enable()  # which our program has not yet, while it starts
    for number in (signal.SIGINT, signal.SIGTERM):  # for the program; we go when it has gone
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    keep = control.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))


@dataclass
class _Running:
    pid: int
    pidfd: int
    #: Where its answer goes; ours says how it ended, and hears when nobody wants it any more.
    out: int


class Server:
    """Until whoever asks is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._running: dict[int, _Running] = {}  # by each of its two descriptors

    def run(self) -> None:
        while True:
            for number, _ in self._poll.poll():
                if number == self._control.fileno():
                    if not self._next():
                        return
                elif (one := self._running.get(number)) is None:
                    continue
                elif number == one.pidfd:
                    self._reap(one)
                else:  # nobody waits for it
                    self._poll.unregister(one.out)
                    signal.pidfd_send_signal(one.pidfd, signal.SIGKILL)

    def _next(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, DESCRIPTORS)
        if not data:
            return False
        if len(fds) == DESCRIPTORS:
            archive, out = fds
            self._start(data, archive, out)
            os.close(archive)
        return True

    def _start(self, request: bytes, archive: int, out: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:  # no process is to be had: whoever asks finds the line cut
            log.warning("an inspection cannot start: %s", error)
            os.close(out)
            return
        if pid == 0:
            try:
                self._inspect(request, archive, out)
            finally:
                os._exit(1)
        one = _Running(pid, os.pidfd_open(pid), out)
        for number, events in ((one.pidfd, select.POLLIN), (out, 0)):
            self._running[number] = one
            self._poll.register(number, events)

    def _inspect(self, request: bytes, archive: int, out: int) -> None:
        self._control.close()
        for number in self._running:
            os.close(number)
        asked = json.loads(request)
        with os.fdopen(archive, "rb") as file:
            content = file.read()
        work.confine(asked)
        told = work.answer(asked, content)
        with socket.socket(fileno=out) as answering:
            answering.sendall(told)
        os._exit(0)

    def _reap(self, one: _Running) -> None:
        _, status = os.waitpid(one.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(KeyError):  # it was hung up before
            self._poll.unregister(one.out)
        with socket.socket(fileno=one.out) as answering, contextlib.suppress(OSError):
            answering.send(json.dumps({"ended": code}).encode() + b"\n", socket.MSG_DONTWAIT)
        for number in (one.pidfd, one.out):
            self._running.pop(number, None)
        self._poll.unregister(one.pidfd)
        os.close(one.pidfd)
