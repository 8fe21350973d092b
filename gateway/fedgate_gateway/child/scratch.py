"""What a child may write: its scratch folder in memory or on disk, and how much of it."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from fedgate.errors import InvalidMessage
from fedgate_gateway.child.wire import Message

#: Seconds between two looks at folders on disk, and the share of time that looking may take.
_LOOK, _SHARE = 1.0, 0.05
#: Bytes up to which a shared folder is counted.
_SHARED = 1 << 40
#: Bytes that a file or folder counts for besides its content: a flood of empty ones is one, too.
_ENTRY = 4096
_BLOCK = 512  # the unit of st_blocks, whatever the file system's is


class Scratch:
    """The folders of one child. ``limit``: bytes that it may write, 0 for no bound.

    A folder in memory is a file system of the child's sandbox, so the kernel holds the limit and
    wipes it with the last process; the child shows it to its parent by a descriptor.
    """

    def __init__(
        self, folder: Path, limit: int, *, in_memory: bool,
        others: Sequence[Path] = (), shared: Path | None = None,
    ) -> None:  # fmt: skip
        self.limit = limit
        self.in_memory = in_memory
        self._on_disk = [*others] if in_memory else [folder, *others]
        self._shared = [] if shared is None else [shared]
        self._folder = folder
        self._shown: int | None = None

    @property
    def expected(self) -> bool:
        """Is the folder still to be shown? It must be, before anything of the workload runs."""
        return self.in_memory and self._shown is None

    def take(self, message: Message) -> None:
        """The child's first message; raises :class:`InvalidMessage` for any other."""
        if not self.expected or message.type != "scratch" or message.fd is None:
            raise InvalidMessage("a child must show its scratch folder first, and once")
        if not stat.S_ISDIR(os.fstat(message.fd).st_mode):
            raise InvalidMessage("a child's scratch folder is none")
        self._shown, message.fd = message.fd, None

    @property
    def path(self) -> Path:
        """The scratch folder as this process sees it, until :meth:`wipe`."""
        if not self.in_memory:
            return self._folder
        return Path("/proc/self/fd", "none" if self._shown is None else str(self._shown))

    @property
    def full(self) -> bool:
        """Has a folder in memory no room left? One on disk never says so."""
        if self._shown is None:
            return False
        told = os.statvfs(self._shown)
        return told.f_bavail * told.f_frsize < 16 * _ENTRY or told.f_favail == 0

    def wipe(self) -> None:
        """Give back a folder in memory, once the child has ended."""
        if self._shown is not None:
            os.close(self._shown)
            self._shown = None

    @property
    def writable(self) -> list[Path]:
        """Folders of this machine that the child writes into."""
        return [*self._on_disk, *self._shared]

    async def outgrown(self) -> bool:
        """Returns once folders on disk hold more than the limit; may never return."""
        if not self.limit or not self.writable:
            return False
        pause, loop = _LOOK, asyncio.get_running_loop()
        # What others have put into a shared folder before is not the child's.
        limit = self.limit + await asyncio.to_thread(used, self._shared, _SHARED)
        while True:
            await asyncio.sleep(pause)
            began = loop.time()
            if await asyncio.to_thread(used, self.writable, limit) > limit:
                return True
            pause = max(_LOOK, (loop.time() - began) / _SHARE)


def used(folders: Iterable[Path], enough: int) -> int:
    """Bytes on disk below ``folders``; stops counting beyond ``enough``. Links are not followed.

    What vanishes while it is counted, or cannot be read, counts for nothing.
    """
    total, waiting = 0, [os.fspath(folder) for folder in folders]
    while waiting and total <= enough:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    total += _ENTRY
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if total > enough:
                        break
        except OSError:
            continue
    return total
