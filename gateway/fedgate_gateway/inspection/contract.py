"""What an inspection tells, and what asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedgate.bundle import BundleLimits
from fedgate.manifest import Manifest


@dataclass(frozen=True)
class Inspected:
    """What an adapter read from a bundle, without running any of it."""

    #: "sha256:<hex>" of the archive.
    digest: str
    #: Bytes of the archive.
    size: int
    manifest: Manifest
    #: What its framework needs to be installed where it runs, as requirements.
    requires: tuple[str, ...] = ()


class Inspects(Protocol):
    """Reads archives. Errors are :class:`~fedgate.errors.InvalidBundle` or a subclass, those of the
    adapters, and :class:`~fedgate.errors.LimitReached` when too many wait.
    """

    async def inspect(
        self, archive: bytes, *, limits: BundleLimits | None = None, holder: str = ""
    ) -> Inspected:
        """``holder``: in whose name; nobody can keep all the others waiting."""

    async def unpack(self, archive: bytes, folder: Path, *, holder: str = "") -> None:
        """Lay its files out below ``folder``, read-only."""
