"""Files that workers left at this site, for its owner: some jobs have their results nowhere else.

They are moved here when a job ends, out of a folder that a workload wrote: plain files only, links
are neither followed nor taken. What may leave the site is :mod:`.site_files`' to say.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedgate.errors import NotFound
from fedgate_gateway.pki.private_files import private_folder, write_private

log = logging.getLogger(__name__)
_ABOUT, _FILES = "about.json", "files"
_DAY = 86400.0
_LOOK = 6 * 3600.0  # seconds between two looks for what is too old
#: One job may leave this share of what a site keeps, so that none crowds out all others.
_SHARE = 0.25
_MAX_FILES, _MAX_DEPTH = 10_000, 32
_SKIPPED = frozenset({"__pycache__"})


@dataclass(frozen=True)
class LeftFile:
    name: str  # with slashes
    size: int  # bytes
    path: Path


@dataclass(frozen=True)
class LeftOutputs:
    """What one job left."""

    job: str
    kept: datetime
    left_out: int  # files for which there was no room
    folder: Path

    def files(self) -> Sequence[LeftFile]:
        return [LeftFile(n, p.lstat().st_size, p) for n, p, _ in _plain_files(self.folder)]


class SiteOutputs:
    """Of all jobs. ``limit``: bytes kept in all; ``days``: how long."""

    def __init__(self, data: Path, *, limit: int, days: float) -> None:
        self._root = data / "outputs"
        self._limit = limit
        self._days = days
        self._lock = threading.Lock()

    def keep(self, job: str, scratch: Path) -> None:
        """Move what a worker left, as far as there is room. Its process must have ended."""
        with self._lock:
            self.forget_old()
            found = [f for f in _plain_files(scratch) if not f[0].startswith(".")]
            if not found or not self._limit:
                return
            place = private_folder(private_folder(self._root) / job)
            files = private_folder(place / _FILES)
            _note(place, left_out=0)  # first: what has no note would never be removed
            room = min(self._limit * _SHARE, self._limit - sum(_size(o) for o in self.list()))
            left_out = 0
            for name, path, size in found:
                if size > room:
                    left_out += 1
                    continue
                room -= size
                _move(path, files / name)
            _note(place, left_out=left_out)
        if left_out:
            log.warning("job %s left %d files that outputs_bytes has no room for", job, left_out)

    def list(self) -> Sequence[LeftOutputs]:
        """Newest last."""
        found = []
        for about in self._root.glob(f"*/{_ABOUT}"):
            left_out = int(json.loads(about.read_bytes())["left_out"])
            kept = datetime.fromtimestamp(about.stat().st_mtime, UTC)
            found.append(LeftOutputs(about.parent.name, kept, left_out, about.parent / _FILES))
        return sorted(found, key=lambda one: (one.kept, one.job))

    def of(self, job: str) -> LeftOutputs:
        """Raises :class:`NotFound` for a job that left nothing here."""
        for one in self.list():  # a name is compared and never made into a path
            if one.job == job:
                return one
        raise NotFound(
            f"no worker of {job[:100]!r} left files at this site, or they are too old",
            why=f"what is left is in {self._root} for {self._days:g} days",
            remedy="`fedgate site outputs` without a job lists them",
        )

    def copy(self, job: str, target: Path) -> Sequence[LeftFile]:
        """Copy a job's files below ``target``; existing files are overwritten."""
        files = self.of(job).files()
        for file in files:
            place = target / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, place, follow_symlinks=False)
        return files

    def forget_old(self) -> None:
        before = time.time() - self._days * _DAY
        for one in self.list():
            if one.kept.timestamp() < before:
                shutil.rmtree(one.folder.parent, ignore_errors=True)

    async def expire(self) -> None:
        """Remove what is too old, now and then, until cancelled."""
        while True:
            await asyncio.to_thread(self.forget_old)
            await asyncio.sleep(_LOOK)


def _note(place: Path, *, left_out: int) -> None:
    write_private(place / _ABOUT, json.dumps({"left_out": left_out}).encode())


def _size(one: LeftOutputs) -> int:
    return sum(file.size for file in one.files())


def _move(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.replace(place)
    place.chmod(0o600)


def _plain_files(root: Path) -> list[tuple[str, Path, int]]:
    """Name, path and size of each, by name; not more than a bounded number of them."""
    found = []
    for entry in _walk(root, 0):
        found.append((os.path.relpath(entry.path, root), Path(entry.path), entry.stat().st_size))
        if len(found) >= _MAX_FILES:
            break
    return sorted(found)


def _walk(folder: Path, depth: int) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:  # a flood of names must not become one of memory
            entries = heapq.nsmallest(_MAX_FILES, found, key=lambda e: e.name)
    except OSError:
        return
    for entry in entries:
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISREG(mode):
            yield entry
        elif stat.S_ISDIR(mode) and depth < _MAX_DEPTH and entry.name not in _SKIPPED:
            yield from _walk(Path(entry.path), depth + 1)
