"""In place of FLARE's job runner: nothing is run here, and a run is stopped at the gateway."""

from __future__ import annotations

import threading
from typing import Any

from nvflare.apis.fl_context import FLContext

from fedgate.errors import FedgateError, InvalidTransition
from fedgate_flare._nvflare_private import JobRunner
from fedgate_flare.front_door.errands import Errands


class DoorJobRunner(JobRunner):  # type: ignore[misc]
    """Every job that comes in is under way at the gateway from then on; see ``job_manager``."""

    def __init__(self, workspace_root: str, errands: Errands) -> None:
        super().__init__(workspace_root)
        self._errands = errands
        self._stopped = threading.Event()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Nothing of FLARE's: there is no scheduler, and no workspace to save."""

    def run(self, fl_ctx: FLContext) -> None:
        """Called in a thread of its own."""

    def stop_run(self, job_id: str, fl_ctx: FLContext) -> str:
        """FLARE's abort of a running job; returns what went wrong, or nothing."""
        try:
            self._errands.cancel(job_id)
        except InvalidTransition:
            return "the job has ended already: there is nothing to abort"
        except FedgateError as error:
            return str(error)
        return ""

    def stop_all_runs(self, fl_ctx: FLContext) -> None:
        """Jobs go on when the door closes."""

    def _save_workspace(self, *_: Any) -> None:
        pass
