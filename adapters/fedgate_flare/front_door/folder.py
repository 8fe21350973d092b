"""The folder in which a door keeps everything: one door at a time, readable by its owner alone."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedgate.errors import Conflict, InvalidConfig


class DoorFolder:
    """Layout below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        #: FLARE's provisioning workspace, with the private key of the door's CA.
        self.provisioned = self.root / "provisioned"
        #: What the kits were last made for.
        self.settings = self.root / "door.json"
        #: The server's start-up kit, which is the workspace that FLARE runs in.
        self.server = self.root / "server"
        self.kits = self.root / "kits"
        #: FLARE's job store: job, meta and opened results, a folder for each job.
        self.jobs = self.root / "jobs"
        self.snapshots = self.root / "snapshots"
        self.logs = self.root / "logs"
        #: Emptied at every start: uploads and results on their way.
        self.uploads = self.root / "uploads"
        self.scratch = self.root / "scratch"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make what is missing, and keep other doors out.

        Raises :class:`InvalidConfig` for a folder that others may enter, and :class:`Conflict`
        when another door runs in it.
        """
        before = os.umask(0o077)
        try:
            with self._locked():
                for folder in (self.uploads, self.scratch):
                    shutil.rmtree(folder, ignore_errors=True)
                for folder in (self.jobs, self.snapshots, self.logs, self.uploads, self.scratch):
                    folder.mkdir(exist_ok=True)
                yield
        finally:
            os.umask(before)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.root.stat().st_mode & 0o077:
                raise InvalidConfig(
                    f"the data folder {self.root} is open to others",
                    why="it holds opened results, and the keys with which people submit",
                    remedy=f"chmod 700 {self.root}",
                )
            lock = (self.root / "lock").open("w")
        except OSError as error:
            raise InvalidConfig(
                f"cannot use the data folder {self.root}", why=str(error.strerror or error)
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict(
                    f"another front door runs in {self.root}",
                    remedy="stop it, or use another data folder",
                ) from None
            yield
