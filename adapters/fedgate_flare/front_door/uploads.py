"""Uploads to the door: into its own folder, bounded in size and number, removed afterwards."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReturnCode, Shareable, make_reply
from nvflare.apis.streaming import ConsumerFactory, ObjectConsumer, StreamContext

from fedgate.errors import FedgateError, InvalidMessage, Unavailable
from fedgate_flare._nvflare_private import (
    KEY_DATA,
    KEY_EOF,
    KEY_FILE_LOCATION,
    KEY_FILE_SIZE,
)
from fedgate_flare.front_door.archive import LIMITS, too_large

#: FLARE's tools hear a refusal only after their last chunk, so what is too large is read to its
#: end and thrown away; beyond this many bytes it is cut off.
_MOST_THROWN_AWAY = 16 * LIMITS.archive_bytes
_MOST_AT_ONCE = 8
#: FLARE's tools give up a chunk after 5 s.
_IDLE_SECONDS = 60.0


class Upload(ObjectConsumer):  # type: ignore[misc]
    """One file on its way in."""

    def __init__(self, path: Path, size: Any) -> None:
        self.path = path
        self.refusal: FedgateError | None = None
        self.heard = time.monotonic()
        self._received = 0
        if type(size) is not int or not 0 <= size <= _MOST_THROWN_AWAY:
            raise too_large()
        self._size = size
        if size > LIMITS.archive_bytes:
            self.refusal = too_large()
        self._file = path.open("xb")

    def consume(
        self, shareable: Shareable, stream_ctx: StreamContext, fl_ctx: FLContext
    ) -> tuple[bool, Shareable]:
        data = shareable.get(KEY_DATA) or b""
        self.heard = time.monotonic()
        self._received += len(data)
        if self._received > self._size:
            raise InvalidMessage("an upload is larger than it was said to be")
        if self.refusal is None:
            self._file.write(data)
        if shareable.get(KEY_EOF):
            if self._received != self._size:
                raise InvalidMessage("an upload is smaller than it was said to be")
            return False, make_reply(ReturnCode.OK)
        return True, make_reply(ReturnCode.OK)

    def finalize(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> None:
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


class Uploads(ConsumerFactory):  # type: ignore[misc]
    """All files on their way in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, Upload] = {}

    def get_consumer(self, stream_ctx: StreamContext, fl_ctx: FLContext) -> ObjectConsumer:
        """Raises what FLARE logs; the other end then hears that its upload failed."""
        path = self._folder / str(uuid.uuid4())
        with self._lock:
            self._drop_idle()
            if len(self._open) >= _MOST_AT_ONCE:
                raise Unavailable("too many uploads at once", remedy="try again in a minute")
            upload = Upload(path, stream_ctx.get(KEY_FILE_SIZE))
            self._open[str(path)] = upload
        stream_ctx[KEY_FILE_LOCATION] = str(path)
        return upload

    def take(self, stream_ctx: StreamContext) -> Upload | None:
        """The upload that ended, which is the caller's now."""
        with self._lock:
            return self._open.pop(str(stream_ctx.get(KEY_FILE_LOCATION)), None)

    def _drop_idle(self) -> None:
        before = time.monotonic() - _IDLE_SECONDS
        for key, upload in list(self._open.items()):
            if upload.heard < before:
                upload.discard()
                del self._open[key]
