"""Files that the server side of a job wrote: they become the job's artifacts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fedgate_flare.workspace import Deployed

#: Written by FLARE or by us for every job; of no use to anybody.
_BORING = frozenset({"meta.json", "fl_app.txt", "disabled_clients.json", "audit.log"})


class RunFolder:
    """Remembers what was deployed, so that what the job wrote can be told from it."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self._before = {path: _state(path) for path in _files(deployed.run)}

    def collect(self, target: Path) -> None:
        """Move new and changed files to ``target`` and remove the workspace."""
        for path in _files(self._deployed.run):
            if self._before.get(path) == _state(path) or path.name in _BORING:
                continue
            place = target / path.relative_to(self._deployed.run)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                path.replace(place)
        shutil.rmtree(self._deployed.root, ignore_errors=True)


def _files(root: Path) -> list[Path]:
    """Plain files below ``root``; links are neither followed nor taken."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [d for d in folders if d != "__pycache__"]
        found += [p for n in names if not (p := Path(folder, n)).is_symlink() and p.is_file()]
    return found


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
