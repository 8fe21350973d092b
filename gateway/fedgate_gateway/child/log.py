"""A child's output: a pipe read by the parent, written to a file up to a bound."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

_CHUNK = 64 * 1024


class LogPipe:
    """``child_end`` becomes stdout and stderr of the child; what exceeds the bound is dropped."""

    def __init__(self, path: Path, limit: int, on_data: Callable[[bytes], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._left = limit
        self._on_data = on_data
        self._read_end, self.child_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dropped = 0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        os.close(self.child_end)
        self.child_end = -1
        self._loop = loop
        loop.add_reader(self._read_end, self._readable)

    def _readable(self, rounds: int = 4) -> bool:
        for _ in range(rounds):
            try:
                data = os.read(self._read_end, _CHUNK)
            except BlockingIOError:
                return False
            if not data:
                if self._loop is not None:
                    self._loop.remove_reader(self._read_end)
                return False
            self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        kept = data[: self._left]
        self.dropped += len(data) - len(kept)
        if kept:
            self._left -= len(kept)
            self._file.write(kept)
            self._on_data(kept)
            if self._left == 0:
                self._file.write(b"\n[fedgate: the log's limit is reached; the rest is dropped]\n")

    def close(self) -> None:
        if self._loop is not None:
            for _ in range(64):
                if not self._readable():
                    break
            self._loop.remove_reader(self._read_end)
        if self.child_end >= 0:
            os.close(self.child_end)
        os.close(self._read_end)
        self._file.close()
