"""A FLARE workflow that says all that it can, and asks its sites to."""

from pathlib import Path

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.impl.controller import Controller, Task
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_constant import AppConstants
from plants import NUMBER, ROUND, fail_as, say, word

ASKS = ("exception", "key", "code", "type", "object", "header", "metrics", "name", "well")


class Workflow(Controller):
    def __init__(self, ends):
        super().__init__()
        self._ends = ends

    def start_controller(self, fl_ctx):
        say("flare server")
        fl_ctx.set_prop(word("flare property"), word("flare public"), private=False, sticky=True)
        folder = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        Path(folder, word("flare file")).write_text(word("flare content"))

    def control_flow(self, abort_signal, fl_ctx):
        for number, does in enumerate(ASKS):
            weights = {"w": np.zeros(3), word("flare tensor"): np.array([float(NUMBER)])}
            asked = DXO(DataKind.WEIGHTS, data=weights).to_shareable()
            asked.set_header("does", does)
            asked.set_header(word("flare header"), word("flare header's value"))
            asked.set_header(AppConstants.CURRENT_ROUND, ROUND - 1 + number)  # FLARE counts from 0
            name = "train_" + word("flare task")
            task = Task(name, asked, props={word("flare prop"): NUMBER}, timeout=30)
            self.broadcast_and_wait(task, fl_ctx, min_responses=0, abort_signal=abort_signal)
        topic, told = word("flare topic"), Shareable({word("flare body"): word("flare told")})
        fl_ctx.get_engine().fire_and_forget_aux_request(None, topic, told, fl_ctx)
        if self._ends == "badly":
            self.system_panic(word("flare panic"), fl_ctx)
            fail_as("exception", "flare server")

    def stop_controller(self, fl_ctx):
        say("flare stopping server")

    def process_result_of_unknown_task(self, client, task_name, client_task_id, result, fl_ctx):
        pass
