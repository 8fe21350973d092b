"""Is anything of a federation still running? Asked of the kernel, not of our own books."""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def leftovers(root: Path) -> dict[int, str]:
    """Processes that work in ``root`` or were started with files in it: id -> command line.

    Empty where there is no ``/proc``. Zombies are left out: they have ended.
    """
    found = {}
    for entry in _PROC.glob("[0-9]*"):
        process = int(entry.name)
        if process == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = (entry / "cwd").readlink()
        except OSError:  # it ended, or is not ours
            continue
        inside = place == root or root in place.parents
        if inside or _config_below(command, root):
            found[process] = command.strip()
    return found


def _config_below(command: str, root: Path) -> bool:
    return "fedgate_gateway" in command and f"{root}{os.sep}" in command
