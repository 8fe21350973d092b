"""Keeps the files that sites stream."""

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.app_common.streamers.file_streamer import FileStreamer


class Taker(FLComponent):
    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.START_RUN:
            self._run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
            FileStreamer.register_stream_processing(
                fl_ctx, channel="files", topic="note", dest_dir=str(self._run),
                stream_done_cb=self._done,
            )  # fmt: skip

    def _done(self, stream_ctx, fl_ctx, **kwargs):
        path = Path(FileStreamer.get_file_location(stream_ctx))
        sender = fl_ctx.get_peer_context().get_identity_name()
        path.rename(self._run / f"note-of-{sender}.bin")
