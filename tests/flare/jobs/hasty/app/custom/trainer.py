"""Arithmetic without rounding, so that the order of a sum does not matter, only who is in it.

Weights halve and move by the site's number; examples weigh 1, 1 and 2, so that means are exact too.
"""

import os
import random
import time
import zlib
from pathlib import Path

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor


class Trainer(Executor):
    def __init__(self):
        super().__init__()
        self._round = 0
        if row := os.environ.get("TRAINER_BROKEN"):
            raise ValueError(f"cannot read the row {row!r} of {__file__}")

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        name = fl_ctx.get_identity_name()
        number = int(name.removeprefix("site-"))
        if "train" not in task_name:
            return DXO(DataKind.METRICS, data={"score": float(number)}).to_shareable()
        self._round += 1
        seed = os.environ.get("TRAINER_SEED", "0")
        chance = random.Random(zlib.crc32(f"{seed}/{name}/{self._round}".encode()))
        time.sleep(chance.random() * float(os.environ.get("TRAINER_JITTER", "0")))
        time.sleep(float(os.environ.get("TRAINER_EACH", "0")))
        if self._round == int(os.environ.get("TRAINER_LATE_ROUND", "0")):
            time.sleep(float(os.environ.get("TRAINER_LATE", "0")))
        run = fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id())
        Path(run, "kept").mkdir(exist_ok=True)
        Path(run, "kept", "rounds.txt").write_text(f"{self._round} at {name}")
        weights = from_shareable(shareable).data["numpy_key"]
        dxo = DXO(DataKind.WEIGHTS, data={"numpy_key": np.asarray(weights) / 2 + number})
        dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, max(1, number - 1))
        return dxo.to_shareable()
