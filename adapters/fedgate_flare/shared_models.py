"""A model for several sites is one object, and so encoded and sealed once."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from fedgate.model import Model


class SharedModels:
    """One :class:`Model` for all sites of a broadcast, so that it is encoded and sealed once.

    FLARE copies a task's headers for each site and shares its arrays. Two models of one task are
    the same when their tensors lie in the same memory; the memory cannot be reused while the
    first model lives, and models are only kept weakly.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: weakref.WeakValueDictionary[Any, Model] = weakref.WeakValueDictionary()

    def share(self, key: str, model: Model) -> Model:
        places = tuple(
            (name, t.dtype, t.shape, np.frombuffer(t.data, np.uint8).ctypes.data if t.nbytes else 0)
            for name, t in model.tensors.items()
        )
        with self._lock:
            return self._models.setdefault((key, places), model)
