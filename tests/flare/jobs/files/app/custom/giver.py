"""Streams a file of 300 kB to the server after the site's task."""

import tempfile
from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.app_common.streamers.file_streamer import FileStreamer


class Giver(FLComponent):
    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.AFTER_TASK_EXECUTION:
            path = Path(tempfile.mkdtemp(), "note.bin")
            path.write_bytes(fl_ctx.get_identity_name().encode() * 50_000)
            FileStreamer.stream_file(
                channel="files", topic="note", stream_ctx={}, targets=["server"],
                file_name=str(path), fl_ctx=fl_ctx, chunk_size=100_000,
            )  # fmt: skip
