"""Saving the exported audit log."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fedgate.errors import NotFound
from fedgate_gateway.cli.client import Client


def save_export(client: Client, path: Path) -> int:
    """Write the exported log to ``path``, whole or not at all; returns its size in bytes."""
    draft = path.with_name(f".{path.name}.part")
    size = 0
    try:
        with draft.open("wb") as file:
            for piece in client.export_audit():
                size += file.write(piece)
        draft.replace(path)
    except OSError as error:
        raise NotFound(f"cannot write {path}", why=str(error.strerror or error)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return size
