"""Writes down, on the server, who contributed in FLARE's own eyes."""

from pathlib import Path

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent


class Contributors(FLComponent):
    def __init__(self):
        super().__init__()
        self._names = []

    def handle_event(self, event_type, fl_ctx):
        if event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            self._names.append(fl_ctx.get_peer_context().get_identity_name())
        elif event_type == EventType.END_RUN:
            run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
            with Path(run, "contributors.txt").open("w") as file:
                file.write(" ".join(self._names))
