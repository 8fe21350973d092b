"""From a path to a bundle: a directory is packed as its framework would, an archive is taken."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fedgate.errors import BundleTooLarge, NotFound

_MAX_ARCHIVE = 1024 * 1024 * 1024


def load(path: Path, *, adapters: Collection[str]) -> bytes:
    """The archive to submit. The gateway inspects it; here it is only made.

    Raises :class:`InvalidBundle` (or a subclass) for a directory that is no workload, and
    :class:`NotFound` for a path where nothing is.
    """
    if path.is_dir():
        from fedgate.bundle import read_directory
        from fedgate.plugins import recognise

        return recognise(read_directory(path), allowed=adapters).pack(path)
    try:
        with path.open("rb") as file:
            archive = file.read(_MAX_ARCHIVE + 1)
    except OSError as error:
        raise NotFound(
            f"cannot read the workload {path}",
            why=str(error.strerror or error),
            remedy="give a Flower app's directory or FAB, or a FLARE job's folder or ZIP",
        ) from error
    if len(archive) > _MAX_ARCHIVE:
        raise BundleTooLarge(f"{path} is too large to be a workload")
    return archive
