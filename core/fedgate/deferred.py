"""Models whose bytes are fetched when somebody reads them.

A coordinator that holds the results of many sites would hold as many models. A deferred one is a
header and a way to get at its tensors; whoever goes through the results one after the other, as an
average does, needs memory for one.
"""

from __future__ import annotations

from collections.abc import Callable

from fedgate.model import Model, Tensor, read_layout

#: ``read(begin, end)``: those bytes of the serialised model, in memory that may be written to.
Read = Callable[[int, int], memoryview]


class DeferredTensor(Tensor):
    """A tensor that fetches ``data`` at each access; keep the view as long as it is needed."""

    __slots__ = ("_begin", "_end", "_read")
    _begin: int
    _end: int
    _read: Read

    def __init__(
        self, dtype: str, shape: tuple[int, ...], read: Read, begin: int, end: int
    ) -> None:
        for name, value in (
            ("dtype", dtype), ("shape", shape), ("_read", read), ("_begin", begin), ("_end", end),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def data(self) -> memoryview:
        if self._begin == self._end:
            return memoryview(b"")
        return self._read(self._begin, self._end)

    @property
    def nbytes(self) -> int:
        return self._end - self._begin


def deferred_model(header: memoryview, size: int, read: Read) -> Model:
    """A model of ``size`` bytes that begins with ``header``; its other bytes come from ``read``.

    Raises :class:`~fedgate.errors.InvalidModel` as :meth:`Model.parse` does.
    """
    layout = read_layout(header, size)
    tensors = {
        name: DeferredTensor(
            span.dtype, span.shape, read, layout.start + span.begin, layout.start + span.end
        )
        for name, span in layout.spans.items()
    }
    return Model(tensors, layout.metadata)
