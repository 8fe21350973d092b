"""FLARE messages as a model and a body: every array lifted out, the rest in FLARE's own encoding.

The hook is FLARE's FOBS packer, at exactly the place where FLARE itself would serialise an array,
so nesting needs no rules of ours. The body is FOBS with msgpack extensions where arrays stood.
Reading keeps FOBS's allow-list and adds to it: no array and no download reference may hide in a
body, and no class is loaded that was not registered before.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from fedgate.errors import FedgateError, InvalidMessage, InvalidModel
from fedgate.model import Model, Tensor
from fedgate_flare import torch_tensors
from fedgate_flare._nvflare_private import DatumManager, fobs_core
from fedgate_flare.arrays import from_tensor, to_tensor
from fedgate_flare.names import array_names, unique

#: msgpack extension code: "here stood the array with this name".
_ARRAY = 70
#: The same for torch tensors.
_TORCH = 71
MAX_BODY = 256 * 1024 * 1024
_MAX_ITEMS = 1_000_000
#: Types whose bytes would be arrays or references to data elsewhere; they never stand in a body.
_FORBIDDEN = frozenset(
    {
        "numpy.ndarray",
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "nvflare.fuel.utils.fobs.datum.Datum",
        "nvflare.fuel.utils.fobs.datum.DatumRef",
        "nvflare.fuel.utils.fobs.decomposers.via_downloader.LazyDownloadRef",
    }
)


class _Inline(DatumManager):  # type: ignore[misc]
    """No datum leaves the message, whatever its size: there is no second channel for it."""

    def __init__(self) -> None:
        super().__init__(threshold=sys.maxsize, fobs_ctx={})


class _Lifter(fobs_core.Packer):  # type: ignore[misc]
    """FLARE's packer, except that arrays go into ``tensors``."""

    def __init__(self, manager: _Inline, names: dict[int, str]) -> None:
        super().__init__(manager)
        self.tensors: dict[str, Tensor] = {}
        self._names = names
        self._marks: dict[int, msgpack.ExtType] = {}
        self._keep: list[Any] = []  # ids stay valid only while the objects live

    def pack(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray):
            return self._lift(obj)
        if torch_tensors.is_tensor(obj):
            return self._lift(obj)
        if type(obj).__module__.startswith("scipy.sparse"):
            raise InvalidModel(
                "sparse matrices cannot be sent", remedy="send their parts as arrays"
            )
        return super().pack(obj)

    def _lift(self, array: Any) -> msgpack.ExtType:
        mark = self._marks.get(id(array))
        if mark is None:
            name = unique(self._names.get(id(array)), self.tensors)
            if isinstance(array, np.ndarray):
                self.tensors[name], dtype = to_tensor(array)
                mark = msgpack.ExtType(_ARRAY, msgpack.packb([name, dtype, _is_fortran(array)]))
            else:
                self.tensors[name], dtype = torch_tensors.to_tensor(array)
                mark = msgpack.ExtType(_TORCH, msgpack.packb([name, dtype, False]))
            self._marks[id(array)] = mark
            self._keep.append(array)
        return mark


class _Reader(fobs_core.Packer):  # type: ignore[misc]
    """FLARE's unpacker behind a narrower gate."""

    def unpack(self, obj: Any) -> Any:
        if type(obj) is dict and fobs_core.FOBS_TYPE in obj:
            name = obj[fobs_core.FOBS_TYPE]
            if not isinstance(name, str) or name in _FORBIDDEN:
                raise InvalidMessage(
                    "a body holds something that must not be there", why=str(name)[:99]
                )
        return super().unpack(obj)


class _Placer:
    """Puts each tensor of a model where the message says; msgpack calls it for every extension."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._used: set[str] = set()

    @property
    def all_used(self) -> bool:
        return len(self._used) == len(self._tensors)

    def place(self, code: int, data: bytes) -> Any:
        if code not in (_ARRAY, _TORCH):
            raise InvalidMessage("a body holds an unknown extension", why=str(code))
        name, dtype, fortran = _mark(data)
        if name not in self._tensors:
            raise InvalidMessage("a body names a tensor that did not come with it", why=name[:99])
        again = name in self._used  # FLARE gives each place an array of its own
        self._used.add(name)
        if code == _TORCH:
            found = torch_tensors.from_tensor(self._tensors[name], dtype)
            return found.clone() if again else found
        array = from_tensor(self._tensors[name], dtype)
        if fortran:  # the order of memory decides the last bit of some sums
            array = np.asfortranarray(array)
        return array.copy(order="K") if again else array


def encode(message: Any) -> tuple[Model, bytes]:
    """Lift every array out of ``message``; arrays are shared with it, not copied.

    Raises :class:`InvalidModel` for arrays that cannot travel, else :class:`InvalidMessage`.
    """
    fobs_core._register_decomposers()
    manager = _Inline()
    lifter = _Lifter(manager, array_names(message))
    try:
        body = msgpack.packb(message, default=lifter.pack, strict_types=True)
        manager.post_process()
    except FedgateError:
        raise
    except Exception as error:
        raise InvalidMessage(
            "a FLARE message cannot be encoded",
            why=f"{type(error).__name__}: {error}"[:300],
            remedy="send numbers, texts, arrays and registered classes",
        ) from error
    if manager.get_error() or manager.get_datums():
        raise InvalidMessage("a FLARE message needs a second channel", why=str(manager.get_error()))
    if len(body) > MAX_BODY:
        raise InvalidMessage("a FLARE message is too large", why=f"{len(body)} bytes beside arrays")
    return Model(lifter.tensors), body


def decode(model: Model | None, body: bytes) -> Any:
    """The inverse of :func:`encode`; arrays are views of the model's memory where that is writable.

    Every tensor of the model must be used, and nothing but registered classes is built.
    Raises :class:`InvalidMessage`.
    """
    if len(body) > MAX_BODY:
        raise InvalidMessage("a FLARE message is too large", why=f"{len(body)} bytes beside arrays")
    fobs_core._register_decomposers()
    manager = _Inline()
    reader = _Reader(manager)
    tensors = _Placer({} if model is None else model.tensors)
    try:
        message = msgpack.unpackb(
            body,
            object_hook=reader.unpack,
            ext_hook=tensors.place,
            strict_map_key=False,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
        )
        manager.post_process()
    except FedgateError:
        raise
    except Exception as error:
        raise InvalidMessage(
            "a FLARE message cannot be decoded", why=f"{type(error).__name__}: {error}"[:300]
        ) from error
    if not tensors.all_used:
        raise InvalidMessage("a model holds tensors that its message does not name")
    return message


def _is_fortran(array: Any) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def _mark(data: bytes) -> tuple[str, str, bool]:
    try:
        mark = msgpack.unpackb(data)
    except Exception as error:
        raise InvalidMessage("a body's mark of an array is damaged", why=repr(error)) from error
    match mark:
        case [str(name), str(dtype), bool(fortran)]:
            return name, dtype, fortran
        case _:
            raise InvalidMessage("a body's mark of an array is malformed")
