"""The inspection server's process, as its program holds it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Self

from fedgate.errors import Unavailable
from fedgate_gateway.inspection.server import Server, load_adapters, settle


class InspectionProcess:
    """A server that is there when it is asked: started anew when it has ended. Thread-safe.

    A program forks it before it has threads (:meth:`forked`), which costs no import. Where there
    are threads already, as in tests and after it has ended, it is a new interpreter.
    """

    def __init__(self, adapters: Sequence[str]) -> None:
        self._adapters = tuple(adapters)
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._pid = 0

    @classmethod
    def forked(cls, adapters: Sequence[str]) -> Self:
        """Call it while the program has one thread."""
        made = cls(adapters)
        load_adapters(adapters)
        ours, theirs = _pair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                settle(theirs)
                Server(theirs).run()
            finally:
                os._exit(0)
        theirs.close()
        made._control, made._pid = ours, pid
        return made

    def ask(self, request: bytes, fds: Sequence[int]) -> None:
        """Hand over a request with its descriptors. Raises :class:`Unavailable`."""
        with self._lock:
            for _ in range(2):
                control = self._control or self._spawn()
                with contextlib.suppress(OSError):
                    socket.send_fds(control, [request], fds)
                    return
                self._forget()
        raise Unavailable(
            "bundles cannot be inspected now",
            why="the process that inspects them does not stay",
            remedy="see the program's log",
        )

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._pid

    def _spawn(self) -> socket.socket:
        ours, theirs = _pair()
        command = [sys.executable, "-P", "-m", "fedgate_gateway.inspection"]
        try:
            started = subprocess.Popen(
                [*command, str(theirs.fileno()), *self._adapters],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except OSError as error:
            ours.close()
            raise Unavailable("bundles cannot be inspected now", why=str(error)) from error
        finally:
            theirs.close()
        self._control, self._pid = ours, started.pid
        started.returncode = 0  # it is ours to wait for, in _forget
        return ours

    def _forget(self) -> None:
        if self._control is not None:
            self._control.close()
        pid, self._control, self._pid = self._pid, None, 0
        if pid:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def close(self) -> None:
        """End it, and what it is doing. Idempotent; asking again starts it again."""
        with self._lock:
            self._forget()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
