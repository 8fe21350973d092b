"""The log of a job as ``nvflare job logs`` shows it: what happened, and what the server printed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
#: FLARE returns the last 5 MiB of a log.
_MOST_BYTES = 5 * 1024 * 1024


class JobLogs:
    """A folder with a file for each job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, job: str) -> None:
        """An empty one."""
        self._path(job).write_text("")

    def append(self, job: str, text: str) -> None:
        with self._path(job).open("a", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")

    def tell(self, job: str, line: str, *, at: str = "") -> None:
        """``at``: when, as ISO 8601; empty: now. FLARE's tools filter by the time in front."""
        when = datetime.fromisoformat(at) if at else datetime.now(UTC)
        self.append(job, f"{when:%Y-%m-%d %H:%M:%S} - fedgate - {line}")

    def read(self, job: str) -> str | None:
        """Its last part; None when there is none."""
        try:
            with self._path(job).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _MOST_BYTES))
                return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return None

    def remove(self, job: str) -> None:
        self._path(job).unlink(missing_ok=True)

    def _path(self, job: str) -> Path:
        if not _JOB.fullmatch(job):
            raise ValueError(f"{job!r:.100} cannot be a job")
        return self._folder / f"{job}.txt"
