"""A filter that multiplies every weight by a number: four of them show in the result."""

from nvflare.apis.dxo import from_shareable
from nvflare.apis.filter import Filter


class Scale(Filter):
    def __init__(self, factor: float):
        super().__init__()
        self._factor = factor

    def process(self, shareable, fl_ctx):
        dxo = from_shareable(shareable)
        dxo.data = {name: value * self._factor for name, value in dxo.data.items()}
        return dxo.update_shareable(shareable)
