"""One round of training, unless it is to go wrong at the server."""

import os
import threading
from pathlib import Path

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.impl.controller import Controller, Task
from nvflare.apis.shareable import Shareable


class Workflow(Controller):
    def __init__(self, does, seconds):
        super().__init__()
        self._does = does
        self._seconds = seconds
        self._trained = []

    def start_controller(self, fl_ctx):
        secret = os.environ["TROUBLE_SECRET"]
        print("what a job prints:", secret)
        self._folder = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        (self._folder / "secret.txt").write_text(secret)

    def control_flow(self, abort_signal, fl_ctx):
        if self._does == "raise":
            raise RuntimeError("no luck today")
        if self._does == "fill the scratch":
            with (self._folder / "rubbish").open("wb") as file:
                file.writelines(bytes(1 << 20) for _ in range(1024))
        if self._does == "flood the sites":
            message = Shareable({"noise": b"x" * 20_000})
            while not abort_signal.triggered:
                fl_ctx.get_engine().fire_and_forget_aux_request(
                    None, "trouble.noise", message, fl_ctx
                )
        weights = DXO(DataKind.WEIGHTS, data={"w": np.zeros(3)}).to_shareable()
        task = Task("train", weights, timeout=self._seconds, result_received_cb=self._take)
        self.broadcast_and_wait(task, fl_ctx, min_responses=0, abort_signal=abort_signal)
        if self._does == "wait for itself":
            lock = threading.Lock()
            with lock, lock:
                pass
        (self._folder / "trained.txt").write_text(" ".join(sorted(self._trained)))

    def _take(self, client_task, fl_ctx):
        if client_task.result.get_return_code() == "OK":
            assert from_shareable(client_task.result).data["w"].tolist() == [1, 1, 1]
            self._trained.append(client_task.client.name)

    def stop_controller(self, fl_ctx):
        pass

    def process_result_of_unknown_task(self, client, task_name, client_task_id, result, fl_ctx):
        pass
