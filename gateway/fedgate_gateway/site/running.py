"""Which process is a site's agent: a locked file in its folder that holds the number."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_FILE = "agent.pid"


@contextlib.contextmanager
def known_as_running(data: Path) -> Iterator[None]:
    """Until the end of the block, or of this process, the agent is this process."""
    with (data / _FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # of a predecessor that is about to end
            yield
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def running_process(data: Path) -> int | None:
    """The agent's process id; None when none runs here."""
    try:
        with (data / _FILE).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                text = file.read(32).strip()
                return int(text) if text.isdigit() else None
            return None
    except OSError:
        return None
