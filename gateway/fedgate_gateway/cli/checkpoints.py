"""Checkpoints that were verified once: what a log said then it must still say.

A file beside the profile for each log, by the id of its key: profiles of several gateways may lie
in one folder. The newest checkpoint is enough, since it was compared with the one before it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fedgate.errors import NotFound

if TYPE_CHECKING:
    from fedgate_gateway.audit.note import VerifierKey

_PREFIX = "audit-checkpoint"


def read_note(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"cannot read the checkpoint {path}", why=str(error)) from error


class KeptCheckpoint:
    """Of the log with ``key``, in ``folder``, which is where the profile lies."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        self.path = folder / f"{_PREFIX}-{key.id.hex()}"

    def read(self) -> str | None:
        """None where nothing was kept yet; raises :class:`NotFound` where it cannot be read."""
        return read_note(self.path) if self.path.exists() else None

    def replace(self, note: str) -> None:
        """After a verification that compared with the one before."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            draft.write_text(note, "utf-8")
            draft.replace(self.path)
        except OSError as error:
            raise NotFound(
                f"cannot keep the checkpoint {self.path}",
                why=str(error.strerror or error),
                remedy="without it nobody notices next time that history was rewritten",
            ) from error
