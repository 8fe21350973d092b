"""Files of a site as one ZIP, in a file without a name: large ones need no memory."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from fedgate.errors import Unavailable
from fedgate_gateway.site.outputs import LeftFile

_STEP = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # when they were written is nobody's business


class Archive:
    """``view`` holds its bytes until it is closed; ``count``: the files in it."""

    def __init__(self, content: mmap.mmap, count: int) -> None:
        self._content = content
        self.view = memoryview(content)
        self.count = count
        #: All that there was is in it.
        self.whole = True

    @classmethod
    def of(cls, files: Iterable[LeftFile], folder: Path) -> Archive:
        """Plain files that have no other name; raises :class:`Unavailable` where there is no room.

        A file that has grown since it was listed, has become a link, or cannot be opened (a worker
        chooses its mode) is left out.
        """
        count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with open(  # noqa: PTH123 - by descriptor
                os.open(folder, os.O_RDWR | os.O_TMPFILE, 0o600), "w+b"
            ) as target:
                with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
                    for file in files:
                        count += _add(zipped, file)
                target.flush()
                return cls(mmap.mmap(target.fileno(), 0, access=mmap.ACCESS_READ), count)
        except OSError as error:
            raise Unavailable(
                "the files that the worker left cannot be packed",
                why=str(error),
                remedy="give the site's data folder room",
            ) from error

    def close(self) -> None:
        """Idempotent. Where a broken transfer still looks at it, it goes with that."""
        with contextlib.suppress(BufferError):
            self.view.release()
            self._content.close()


def _add(zipped: zipfile.ZipFile, file: LeftFile) -> bool:
    try:
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with open(handle, "rb") as source:  # noqa: PTH123 - by descriptor
        found = os.fstat(source.fileno())
        # A second name can be that of any file which the worker's user may read.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size != file.size:
            return False
        info = zipfile.ZipInfo(file.name, _EPOCH)
        info.create_system = 3  # Unix
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size = file.size
        _copy(source, zipped, info)
    return True


def _copy(source: BinaryIO, zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    left = info.file_size
    with zipped.open(info, "w") as member:
        while left and (piece := source.read(min(left, _STEP))):
            member.write(piece)
            left -= len(piece)
