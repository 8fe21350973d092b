"""Multiplies the number in its site's name by what the controller sent."""

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.executor import Executor


class Answer(Executor):
    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        number = int(fl_ctx.get_identity_name().rsplit("-", 1)[-1])
        product = number * from_shareable(shareable).data["factor"]
        return DXO(DataKind.APP_DEFINED, data={"product": product}).to_shareable()
