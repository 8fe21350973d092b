"""Numpy arrays as tensors of a model and back, bit for bit.

What a tensor's dtype cannot say (big-endian order, complex128, dates, fixed-width text) is kept in
a short dtype string beside it, and checked against a closed pattern before numpy sees it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedgate.errors import InvalidMessage, InvalidModel
from fedgate.model import Tensor

#: dtype strings that may travel: booleans, numbers, dates and fixed-width text.
_DTYPE = re.compile(
    r"[<>|=](?:[biufc](?:1|2|4|8|16)|c32|[mM]8(?:\[\d{0,6}[a-zA-Z]{1,2}\])?|[US]\d{1,9})"
)
#: dtypes that are carried as another one of the same memory.
_CARRIER = {"c16": "<f8", "M8": "<i8", "m8": "<i8"}


def to_tensor(array: NDArray[Any]) -> tuple[Tensor, str]:
    """The tensor that shares the array's memory where it can, and the dtype to restore, or "".

    Raises :class:`InvalidModel` for what has no faithful form: object, structured, masked.
    """
    if type(array) not in (np.ndarray, np.memmap):
        raise InvalidModel(
            f"an array of type {type(array).__name__} cannot be sent",
            remedy="send a plain numpy array (a masked or sparse one loses its meaning)",
        )
    dtype = array.dtype
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise InvalidModel(
            f"an array of dtype {str(dtype)[:80]} cannot be sent",
            why="object and structured arrays hold more than numbers",
            remedy="send one plain array for each field",
        )
    text = dtype.str
    carrier = _CARRIER.get(text[1:].split("[", 1)[0])
    if carrier is not None:
        native = np.ascontiguousarray(array.astype(dtype.newbyteorder("<"), copy=False))
        return Tensor.from_numpy(native.reshape((*array.shape, 1)).view(carrier)), text
    if dtype.kind in "US" or text[1:] in ("f16", "c32"):
        if _DTYPE.fullmatch(text) is None:
            raise InvalidModel(f"an array of dtype {dtype} cannot be sent")
        flat = np.ascontiguousarray(array).reshape((*array.shape, 1))
        return Tensor.from_numpy(_bytes_of(flat, dtype.itemsize)), text
    return Tensor.from_numpy(array), text if dtype.byteorder == ">" else ""


def _bytes_of(array: NDArray[Any], itemsize: int) -> NDArray[Any]:
    if itemsize == 0 or array.size == 0:
        return np.zeros((*array.shape[:-1], itemsize), np.uint8)
    return array.view(np.uint8)


def from_tensor(tensor: Tensor, dtype: str) -> NDArray[Any]:
    """The array of a tensor: a writable view where the tensor's memory is writable, else a copy."""
    array = tensor.numpy()
    if not array.flags.writeable:
        array = array.copy()
    if not dtype:
        return array
    wanted = _dtype(dtype)
    carrier = _CARRIER.get(dtype[1:].split("[", 1)[0])
    if carrier is not None:
        if array.dtype != np.dtype(carrier) or array.ndim == 0:
            raise InvalidMessage(f"a tensor of {tensor.dtype} cannot hold {dtype}")
        items = 2 if dtype[1:] == "c16" else 1
        if array.shape[-1] != items:
            raise InvalidMessage(f"a tensor of shape {tensor.shape} cannot hold {dtype}")
        native = wanted.newbyteorder("<")
        return array.view(native).reshape(array.shape[:-1]).astype(wanted, copy=False)
    if wanted.kind in "US" or dtype[1:] in ("f16", "c32"):
        if array.dtype != np.uint8 or array.ndim == 0 or array.shape[-1] != wanted.itemsize:
            raise InvalidMessage(f"a tensor of {tensor.dtype} cannot hold {dtype}")
        shape = array.shape[:-1]
        if array.size == 0:
            return np.zeros(shape, wanted)
        return array.view(wanted).reshape(shape)
    if wanted.newbyteorder("=") != array.dtype.newbyteorder("="):
        raise InvalidMessage(f"a tensor of {tensor.dtype} is not {dtype}")
    return array.astype(wanted, copy=False)


def _dtype(text: str) -> np.dtype[Any]:
    if _DTYPE.fullmatch(text) is None:
        raise InvalidMessage("a message names an unknown dtype", why=repr(text[:40]))
    try:
        return np.dtype(text)
    except (TypeError, ValueError) as error:
        raise InvalidMessage("a message names an unknown dtype", why=str(error)) from None
