"""What workers remember from job to job of a series: at this site, in folders of its own.

A series is a name that the submitter gives to jobs of one app. The key of its folder holds project,
submitter and app too, so that no other app of anybody's meets what this one left. Each job of a
series is decided on like any other; nothing in these folders is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedgate.errors import Conflict, Denied, NotFound
from fedgate.job import SERIES
from fedgate_gateway.pki.private_files import private_folder, write_private

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ABOUT, _STATE = "about.json", "state"
_DAY = 86400.0
_SECONDS = 20.0


@dataclass(frozen=True)
class SeriesKey:
    """Whose memory it is."""

    project: str
    submitter: str
    framework: str
    app: str
    series: str

    @property
    def folder(self) -> str:
        text = json.dumps(list(asdict(self).values()))
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Remembered:
    """A series as its site's owner sees it."""

    key: SeriesKey
    job: str  # the last one
    used: datetime
    folder: Path

    def size(self) -> int:
        """Bytes. What a worker left may be links: they are measured and not followed."""
        return sum(path.lstat().st_size for path in (self.folder / _STATE).rglob("*"))


def series_of(config: Mapping[str, Any]) -> str:
    """The series that a job names; "" for none. Raises :class:`Denied` for what is no name."""
    name = config.get(SERIES, "")
    if type(name) is int:  # as command lines read 2026
        name = str(name)
    if name != "" and (not isinstance(name, str) or not _NAME.fullmatch(name)):
        raise Denied(
            f"{SERIES} is not a name",
            why=f"{name!r:.80}",
            remedy="letters, digits and ._- from the second character on, at most 63 in all",
        )
    return str(name)


class SeriesFolders:
    """All series of a site. One job at a time has a series' folder."""

    def __init__(self, data: Path, days: float) -> None:
        self._root = data / "series"
        self._days = days
        self._taken: dict[str, str] = {}  # folder -> job
        self._changed = asyncio.Event()

    async def take(self, key: SeriesKey, job: str, *, seconds: float = _SECONDS) -> Path:
        """The folder with what the last job of the series left, or an empty one.

        A job that is ending gives it back in a moment; raises :class:`Conflict` when another has
        it for longer than ``seconds``.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._taken.get(key.folder, job) != job:
                    self._changed.clear()
                    await self._changed.wait()
        other = self._taken.setdefault(key.folder, job)
        if other != job:
            raise Conflict(
                f"another job of the series {key.series!r} runs at this site",
                why=f"{other} has its state",
                remedy="submit the next one when it has ended",
            )
        return await asyncio.to_thread(self._open, key, job)

    def _open(self, key: SeriesKey, job: str) -> Path:
        self.forget_old()
        folder = private_folder(private_folder(self._root) / key.folder)
        write_private(folder / _ABOUT, json.dumps({**asdict(key), "job": job}).encode())
        return private_folder(folder / _STATE)

    def give_back(self, job: str) -> None:
        """The job has ended here; what it left stays for the next one."""
        self._taken = {folder: other for folder, other in self._taken.items() if other != job}
        self._changed.set()

    def list(self) -> Sequence[Remembered]:
        """Last used last."""
        found = [_read(path.parent) for path in self._root.glob(f"*/{_ABOUT}")]
        return sorted(found, key=lambda one: one.used)

    def forget_old(self) -> None:
        """Remove what no job has used for the days that the site's owner set."""
        before = time.time() - self._days * _DAY
        for one in self.list():
            if one.used.timestamp() < before and one.folder.name not in self._taken:
                shutil.rmtree(one.folder, ignore_errors=True)

    def forget(self, series: str) -> int:
        """Remove every series of this name; returns how many. Raises :class:`NotFound`."""
        named = [one for one in self.list() if one.key.series == series]
        if not named:
            raise NotFound(f"nothing is remembered of a series {series[:100]!r} at this site")
        for one in named:
            shutil.rmtree(one.folder)
        return len(named)


def _read(folder: Path) -> Remembered:
    about = folder / _ABOUT
    fields = json.loads(about.read_bytes())
    job = fields.pop("job")
    used = datetime.fromtimestamp(about.stat().st_mtime, UTC)
    return Remembered(SeriesKey(**fields), job, used, folder)
