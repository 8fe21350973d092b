"""Whatever is written to descriptor 2 without our logging, line by line.

Libraries in C write there directly. A pipe takes descriptor 2's place, and what comes out of it is
told as lines; our own log goes to the descriptor that was there before.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TextIO

_STDERR = 2
#: Characters of one line; the rest of a longer one are lines of their own.
_MOST = 16 * 1024
#: Seconds to read what was written before the end; a process of ours may still hold the pipe.
_LAST = 1.0


class RawLines:
    """Descriptor 2 of this process, from :meth:`take` until it ends.

    What is written in the last moment of a process that ends, or is killed, may be lost.
    """

    def __init__(self, stream: TextIO, pipe: int, tell: Callable[[str], None]) -> None:
        #: The descriptor that was 2 before: what is written there goes out as it is.
        self.stream = stream
        self._pipe = pipe
        self._tell = tell
        self._reader = threading.Thread(target=self._read, name="stderr", daemon=True)

    @classmethod
    def take(cls, tell: Callable[[str], None]) -> RawLines:
        """``tell`` is called in a thread of its own, and must not write to descriptor 2."""
        before = os.dup(_STDERR)
        out, into = os.pipe()
        os.dup2(into, _STDERR)  # inherited by children, as standard error is
        os.close(into)
        stream = os.fdopen(before, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
        taken = cls(stream, out, tell)
        taken._reader.start()
        atexit.register(taken._drain)
        return taken

    def _drain(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)  # ends the pipe, unless a child still holds it
        os.close(nowhere)
        self._reader.join(_LAST)

    def _read(self) -> None:
        rest = b""
        while piece := os.read(self._pipe, 65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._line(line)
            while len(rest) > _MOST:
                self._line(rest[:_MOST])
                rest = rest[_MOST:]
        self._line(rest)

    def _line(self, line: bytes) -> None:
        for start in range(0, len(line), _MOST):
            text = line[start : start + _MOST].decode("utf-8", "replace").rstrip()
            if text:
                self._tell(text)
