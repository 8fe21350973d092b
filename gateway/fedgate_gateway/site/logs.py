"""What workers printed at this site: one file for each job, for its owner alone to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedgate.errors import NotFound

_SUFFIX = ".log"
#: Bytes of one line of ours.
_LINE = 8_000


@dataclass(frozen=True)
class WorkerLog:
    """The log of one job's worker."""

    job: str
    size: int  # bytes
    changed: datetime
    path: Path

    def lines(self, last: int | None = None) -> Iterator[str]:
        """Its lines with their ends, or the ``last`` of them; bytes that are no text are marked."""
        with self.path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            yield from file if last is None else deque(file, maxlen=last)


class WorkerLogs:
    """The folder of logs inside a site's data folder."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "logs"

    def path(self, job: str) -> Path:
        return self._folder / f"{job}{_SUFFIX}"

    def add(self, job: str, text: str) -> None:
        """A line of the site's own, bounded, beside what the worker printed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.path(job).open("ab") as file:
            file.write(f"fedgate: {text}".encode("utf-8", "replace")[:_LINE] + b"\n")

    def list(self) -> Sequence[WorkerLog]:
        """Newest last."""
        found = [_log(path) for path in self._folder.glob(f"*{_SUFFIX}")]
        return sorted(found, key=lambda log: (log.changed, log.job))

    def of(self, job: str) -> WorkerLog:
        """Raises :class:`NotFound` for a job that left none here."""
        for log in self.list():  # a name is compared and never made into a path
            if log.job == job:
                return log
        raise NotFound(
            f"no worker of {job[:100]!r} left a log at this site",
            why=f"logs are in {self._folder}",
            remedy="`fedgate site logs` without a job lists them",
        )


def _log(path: Path) -> WorkerLog:
    found = path.stat()
    changed = datetime.fromtimestamp(found.st_mtime, UTC)
    return WorkerLog(path.name.removesuffix(_SUFFIX), found.st_size, changed, path)
