"""A sandbox: how a child process is started so that it can reach nothing but its parent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Confinement:
    """What a child may see: everything else of the machine is hidden from it."""

    cwd: Path
    read: Sequence[Path] = ()
    write: Sequence[Path] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Empty folders in memory, with the bytes they hold at most. Nobody else sees them, and they
    #: are gone with the last process. Only for a sandbox that has ``memory_folders``.
    memory: Mapping[Path, int] = field(default_factory=dict)
    #: The bytes that each folder for temporary files (/tmp, /dev/shm) holds; 0: no bound of ours.
    temporary_bytes: int = 0


class Sandbox(ABC):
    name: ClassVar[str]
    #: False for the one that confines nothing; shown in status and evidence.
    confines: ClassVar[bool]
    #: Can it give a child folders in memory?
    memory_folders: ClassVar[bool] = False

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine, or None; probed by really starting something."""

    @abstractmethod
    def command(self, argv: Sequence[str], confinement: Confinement) -> list[str]:
        """The command line that starts ``argv`` confined. The environment is passed beside it."""
