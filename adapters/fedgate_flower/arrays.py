"""Flower arrays as tensors and back, bit by bit, without a copy where none is needed.

An ``Array`` whose ``data`` is a plain ``.npy`` file becomes a tensor on that very memory. Fortran
order and big-endian bytes are turned (with a copy), so that names, dtypes and shapes compare
across sites whatever their layout. Everything else travels as a flat U8 tensor of ``data``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from flwr.app import Array
from numpy.typing import NDArray

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Tensor
from fedgate_flower._flwr_private import borrowing
from fedgate_flower.npy import NpyHeader, canonical_header, parse_header

NUMPY = "numpy.ndarray"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor becomes an ``Array`` again.

    ``header`` is the ``.npy`` header of ``data``; None means that the tensor *is* ``data``.
    ``text`` is that header's bytes.
    """

    header: NpyHeader | None = None
    text: bytes = b""

    @property
    def opaque(self) -> bool:
        return self.header is None


OPAQUE = Layout()


@dataclass(frozen=True, slots=True)
class Lifted:
    """An array taken apart; ``source`` is what the tensor's identity hangs on."""

    tensor: Tensor
    layout: Layout
    source: object


def take_apart(array: Array) -> Lifted:
    """The array as a tensor and the layout that restores it."""
    if isinstance(array, ReceivedArray) and (held := array.held()) is not None:
        return Lifted(held[0], held[1], held[0].data.obj)
    data = array.data
    view = memoryview(data).cast("B")
    header = parse_header(view)
    if header is not None and array.stype in (NUMPY, ""):
        dtype = header.tensor_dtype(array.dtype)
        if dtype is not None and header.payload == len(view) - header.size:
            payload = view[header.size :]
            if not header.plain:
                payload = _turned(payload, header).data
            tensor = Tensor(dtype, header.shape, payload)
            return Lifted(tensor, Layout(header, bytes(view[: header.size])), data)
    return Lifted(Tensor("U8", (len(view),), view), OPAQUE, data)


def put_together(
    dtype: str, shape: tuple[int, ...], stype: str, tensor: Tensor, layout: Layout
) -> Array:
    """The ``Array`` that :func:`take_apart` saw; raises :class:`InvalidMessage` if none fits."""
    header = layout.header
    if header is None:
        if tensor.dtype != "U8" or len(tensor.shape) != 1:
            raise InvalidMessage("an opaque array must be a flat U8 tensor")
    elif header.tensor_dtype(dtype) != tensor.dtype or header.shape != tensor.shape:
        raise InvalidMessage("an array's header disagrees with its tensor")
    return ReceivedArray.over(dtype, shape, stype, tensor, layout)


def adopt(array: NDArray[Any]) -> Array:
    """An ``Array`` on the memory of an ndarray that nobody else will ever write to."""
    if type(array) is np.ndarray and array.flags.c_contiguous and array.dtype.isnative:
        try:
            tensor = Tensor.from_numpy(array)
            layout = layout_from(None, tensor)
        except FedgateError:  # a dtype that only numpy's own format can carry
            return Array(array)
        return ReceivedArray.over(str(array.dtype), tuple(array.shape), NUMPY, tensor, layout)
    return Array(array)


def layout_from(text: bytes | None, tensor: Tensor) -> Layout:
    """The layout that a message describes: the header's bytes, or None for the canonical one."""
    if text is None:
        text = canonical_header(tensor.dtype, tensor.shape)
        if text is None:
            raise InvalidMessage(f"a tensor of {tensor.dtype} needs the header of its array")
    header = parse_header(memoryview(text))
    if header is None or header.size != len(text):
        raise InvalidMessage("an array's header is not the header of a .npy file")
    return Layout(header, text)


def _turned(payload: memoryview, header: NpyHeader) -> NDArray[np.uint8]:
    """A payload in Fortran order or big-endian, as C-ordered little-endian bytes."""
    array = np.frombuffer(payload, header.descr).reshape(
        header.shape, order="F" if header.fortran else "C"
    )
    plain = np.ascontiguousarray(array.astype(header.little, copy=False))
    return plain.reshape(-1).view(np.uint8)


class ReceivedArray(Array):  # type: ignore[misc, unused-ignore]
    """An ``Array`` on received memory: ``data`` is made when somebody asks for it.

    ``numpy()`` gives every caller a writable array of its own, as flwr does: apps and mods of the
    same process call it on the same array and then train in place. Only flwr's own mean, which is
    known to do neither, borrows a read-only view (see ``borrow_in_aggregation``).
    """

    @classmethod
    def over(
        cls, dtype: str, shape: tuple[int, ...], stype: str, tensor: Tensor, layout: Layout
    ) -> ReceivedArray:
        array = cls.__new__(cls)
        array.__dict__.update(dtype=dtype, shape=shape, stype=stype, _held=(tensor, layout))
        return array

    def held(self) -> tuple[Tensor, Layout] | None:
        """The tensor behind this array, until somebody sets ``data``."""
        return self.__dict__.get("_held")

    @property
    def data(self) -> bytes:
        held = self.held()
        if held is None:
            return self.__dict__["data"]  # type: ignore[no-any-return]
        tensor, layout = held
        header = layout.header
        if header is None:
            return bytes(tensor.data)
        payload: memoryview | bytes = tensor.data
        if not header.plain:
            array = _c_array(tensor, header).astype(header.descr, copy=False)
            payload = array.tobytes(order="F" if header.fortran else "C")
        return b"".join([layout.text, payload])

    @data.setter
    def data(self, value: bytes) -> None:
        self.__dict__.pop("_held", None)
        self.__dict__["data"] = value

    def numpy(self) -> NDArray[Any]:
        held = self.held()
        if held is None or held[1].header is None or self.stype != NUMPY:
            return super().numpy()
        tensor, header = held[0], held[1].header
        array = _c_array(tensor, header)
        if borrowing() and header.plain:
            array.flags.writeable = False
            return array
        order: Literal["C", "F"] = "F" if header.fortran and len(header.shape) > 1 else "C"
        return array.astype(header.descr, order=order, copy=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Array):
            return NotImplemented
        mine = (self.dtype, self.shape, self.stype)
        return mine == (other.dtype, other.shape, other.stype) and self.data == other.data

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are ordinary Arrays: they must not hold on to received memory."""
        return Array, (self.dtype, tuple(self.shape), self.stype, self.data)


# flwr writes the class's name into the serialised object and compares it when reading.
ReceivedArray.__name__ = ReceivedArray.__qualname__ = "Array"


def _c_array(tensor: Tensor, header: NpyHeader) -> NDArray[Any]:
    """A view of the tensor with the dtype numpy itself would read from the file."""
    return np.frombuffer(tensor.data, header.little).reshape(tensor.shape)
