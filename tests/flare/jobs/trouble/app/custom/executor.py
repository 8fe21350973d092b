"""One step of training, unless it is to go wrong at the sites."""

import os
import threading
import time
from pathlib import Path

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.executor import Executor

from fedgate.task import Frame
from fedgate_flare.line import Driver


class Troubled(Executor):
    def __init__(self, does):
        super().__init__()
        self._does = does

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        weights = from_shareable(shareable).data["w"]
        if self._does == "kill a site":
            if fl_ctx.get_identity_name() == "site-1":
                os._exit(3)
            time.sleep(0.5)
        if self._does == "nothing":  # but say a word that nobody has allowed
            Driver.line.post("server", Frame("aux_communication", "trouble.word", b"x"))
        if self._does == "block the sites":
            threading.Event().wait()
        if self._does == "flood the server past FLARE":
            frame = Frame("aux_communication", "trouble.noise", b"x" * 1000)
            while True:
                Driver.line.post("server", frame)
        if self._does == "fill the sites":
            with Path("rubbish").open("wb") as file:
                file.writelines(bytes(1 << 20) for _ in range(1024))
        return DXO(DataKind.WEIGHTS, data={"w": weights + 1}).to_shareable()
