"""A deterministic executor whose arithmetic is sensitive to the last bit."""

import os
import time
import zlib

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import make_reply


class Trainer(Executor):
    def __init__(self):
        super().__init__()
        self._last = np.zeros((3, 3))

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        if os.environ.get("TRAINER_FAILS"):
            raise RuntimeError("this site's data is unusable")
        if task_name == "submit_model":
            return DXO(DataKind.WEIGHTS, data={"numpy_key": self._last}).to_shareable()
        weights = from_shareable(shareable).data["numpy_key"]
        seed = zlib.crc32(fl_ctx.get_identity_name().encode()) % 1000
        if task_name == "validate":
            score = float(np.sin(weights * (1 + seed)).sum())
            return DXO(DataKind.METRICS, data={"score": score}).to_shareable()
        if not isinstance(weights, np.ndarray):
            return make_reply(ReturnCode.BAD_TASK_DATA)
        time.sleep(float(os.environ.get("TRAINER_DELAY", "0")))
        weights += np.cos(weights * seed) / 3  # in place: FLARE hands out writable arrays
        self._last = weights.astype(np.float64)
        dxo = DXO(DataKind.WEIGHTS, data={"numpy_key": self._last})
        dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 7 + seed % 13)
        dxo.set_meta_prop(MetaKey.INITIAL_METRICS, {"level": float(weights.mean())})
        return dxo.to_shareable()
