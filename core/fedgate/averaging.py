"""The weighted mean of models, for frameworks that bring no aggregation of their own."""

from __future__ import annotations

from collections.abc import Iterable

from fedgate.errors import InvalidModel
from fedgate.model import Model


def weighted_mean(updates: Iterable[tuple[Model, float]]) -> Model:
    """sum(w_i * m_i) / sum(w_i), tensor by tensor, summed in float64 in the order given.

    Names, dtypes and shapes of all models must agree; integer tensors are rounded to nearest.
    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", algorithm 1. Raises :class:`InvalidModel` for no or disagreeing models.
    """
    import numpy as np

    sums: dict[str, np.ndarray] = {}
    signature = None
    total = 0.0
    first: Model | None = None
    for model, weight in updates:
        if not weight > 0:
            raise InvalidModel("a model's weight must be positive", why=f"it is {weight}")
        if signature is None:
            signature, first = model.signature(), model
        elif model.signature() != signature:
            raise InvalidModel("the models to average differ in names, dtypes or shapes")
        for name, array in model.numpy().items():
            part = array.astype(np.float64) * weight
            sums[name] = sums[name] + part if name in sums else part
        total += weight
    if first is None:
        raise InvalidModel("there is no model to average")
    arrays = {}
    for name, array in first.numpy().items():
        mean = sums[name] / total
        arrays[name] = (np.rint(mean) if array.dtype.kind in "iub" else mean).astype(array.dtype)
    return Model.from_numpy(arrays, first.metadata)
