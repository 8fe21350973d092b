"""An executor for FLARE's ScatterAndGather."""

from arithmetic import update, wait
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor


class Trainer(Executor):
    def __init__(self, pause, hold):
        super().__init__()
        self._pause, self._hold = pause, hold

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        wait(self._hold, self._pause)
        weights = from_shareable(shareable).data["numpy_key"]
        site = int(fl_ctx.get_identity_name().rpartition("-")[2])
        dxo = DXO(DataKind.WEIGHTS, data={"numpy_key": update(weights, site)})
        dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 1)
        return dxo.to_shareable()
