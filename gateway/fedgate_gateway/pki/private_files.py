"""Files that hold keys: written whole or not at all, and readable by their owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from fedgate.errors import InvalidConfig


def private_folder(folder: Path) -> Path:
    """The folder, made with mode 0700 where it is missing."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def write_private(path: Path, content: bytes) -> None:
    """Write with mode 0600, atomically: a reader sees the old file or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_private(path: Path) -> bytes:
    """Read a file that must not be open to others; raises :class:`InvalidConfig`."""
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidConfig(
                f"{path} is open to others",
                why="whoever reads it can act in your name",
                remedy=f"chmod 600 {path}, or replace the key",
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfig(f"cannot read {path}", why=str(error.strerror or error)) from error
