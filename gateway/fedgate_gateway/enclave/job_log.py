"""A job's log in its enclave: what the coordinator prints, and what happened that no code tells.

It is in memory and leaves through the release gate alone, under the project's rule for logs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

#: Bytes of one line of ours, and of all.
_MOST_LINE, _MOST = 8_000, 128 * 1024


class JobLog:
    """``path`` is where the coordinator's output goes; :meth:`tell` adds lines of ours."""

    def __init__(self, on_line: Callable[[bytes], None]) -> None:
        """``on_line`` hears of each line of ours as well."""
        self._file = os.memfd_create("fedgate-log")
        self.path = Path("/proc/self/fd", str(self._file))
        self._told = bytearray()
        self._on_line = on_line

    def tell(self, text: str, *, site: str = "") -> None:
        """Texts of exceptions, of sites and of workloads: for the submitter alone."""
        where = f"{site}: " if site else ""
        line = f"fedgate: {where}{text}".encode("utf-8", "replace")[:_MOST_LINE] + b"\n"
        if len(self._told) + len(line) <= _MOST:
            self._told += line
            self._on_line(line)

    def read(self, limit: int) -> bytes:
        """Its beginning, with our lines at the end however much was printed."""
        ours = bytes(self._told[:limit])
        printed = os.pread(self._file, limit - len(ours), 0)
        if printed and ours and not printed.endswith(b"\n"):
            printed = printed[: limit - len(ours) - 1] + b"\n"
        return printed + ours

    def close(self) -> None:
        os.close(self._file)
