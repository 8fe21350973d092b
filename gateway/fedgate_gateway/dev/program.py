"""One of the federation's programs as a process of its own, exactly as by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedgate.errors import Unavailable

_STOP_SECONDS = 15.0
_TAIL_BYTES = 4000
_TAIL_LINES = 12


class Program:
    """``python -m fedgate_gateway.cli.main <arguments>``, its output in a log file.

    The process stops by itself when we are gone, however we ended: it reads a pipe that only we
    hold open.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self.command: Sequence[str] = (sys.executable, "-m", "fedgate_gateway.cli.main")
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def start(self) -> None:
        if self.alive:
            return
        self._close()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._asked = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *self._arguments, "--stop-on-eof"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,  # Ctrl-C is for us; we stop them in order
            )

    @property
    def started(self) -> bool:
        """True from its start until it was asked to end."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Raises :class:`Unavailable` when it does not run."""
        if self._process is None:
            raise Unavailable(f"{self.name} does not run")
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def require_alive(self) -> None:
        """Raises :class:`Unavailable` with its last words when it has ended."""
        if not self.alive:
            code = None if self._process is None else self._process.returncode
            raise Unavailable(
                f"{self.name} has ended (exit code {code})",
                why=self.tail() or "it wrote nothing",
                remedy=f"see {self.log}",
            )

    def tail(self) -> str:
        """The last lines of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])

    def ask_to_stop(self) -> None:
        """Once: a second SIGTERM would end it at once."""
        if self.alive and self._process is not None and not self._asked:
            self._asked = True
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would end it."""
        if self.alive and self._process is not None:
            self._process.kill()
            self._process.wait()
        self._close()
        self._process = None

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
