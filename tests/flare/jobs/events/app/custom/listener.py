"""Writes down who sent events, in FLARE's own eyes."""

from pathlib import Path

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ReservedKey


class Listener(FLComponent):
    def handle_event(self, event_type, fl_ctx):
        if event_type == "test.talk":
            event = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
            run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
            with Path(run, "events.txt").open("a") as file:
                file.write(event.get_peer_prop(ReservedKey.IDENTITY_NAME, "?") + "\n")
