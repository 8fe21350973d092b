"""Publishing what a job saves: each model that goes to a persistor is offered for release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.learnable_persistor import LearnablePersistor
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.workflows.base_model_controller import BaseModelController

from fedgate.adapter import Federation
from fedgate.errors import InvalidModel
from fedgate.model import Model, Tensor
from fedgate_flare import torch_tensors
from fedgate_flare.arrays import to_tensor
from fedgate_flare.names import unique

_DEPTH = 16


class Publisher:
    """Wraps the ``save`` of a job's persistors and model controllers; their own saving stays."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._published: tuple[int, int] | None = None  # (id of the weights, round)
        self._latest: tuple[Any, int] | None = None  # weights never handed to a persistor
        self._metrics: Mapping[str, float] = {}

    def watch(self, components: Iterable[Any], controllers: Iterable[Any]) -> None:
        for component in components:
            if isinstance(component, LearnablePersistor):
                wrap(component, "save", self._saved_learnable)
        for controller in controllers:
            if isinstance(controller, BaseModelController):
                wrap(controller, "save_model", self._saved_model, before=self._note_metrics)

    def saw_global_model(self, context: FLContext) -> None:
        """Remember a global model; it is published at the end if the job saves none itself."""
        learnable = context.get_prop(AppConstants.GLOBAL_MODEL)
        weights = weights_of(learnable)
        if weights is not None:
            self._latest = (weights, _round(context.get_prop(AppConstants.CURRENT_ROUND)))

    def finish(self) -> bool:
        """At the end of the job; was there any model?"""
        if self._published is None and self._latest is not None:
            self._publish(*self._latest)
        return self._published is not None

    def _note_metrics(self, controller: Any, model: Any = None, *_: Any, **__: Any) -> None:
        metrics = getattr(model, "metrics", None)
        self._metrics = {}
        if isinstance(metrics, Mapping):
            self._metrics = {
                str(k): float(v)
                for k, v in metrics.items()
                if isinstance(v, int | float | np.number) and np.isfinite(v)
            }

    def _saved_model(self, controller: Any, model: Any = None, *_: Any, **__: Any) -> None:
        if controller.persistor is None:  # else its persistor has published it
            self._publish(getattr(model, "params", None), _round(controller.current_round))
        self._metrics = {}

    def _saved_learnable(
        self, persistor: Any, learnable: Any = None, fl_ctx: Any = None, *_: Any
    ) -> None:
        number = fl_ctx.get_prop(AppConstants.CURRENT_ROUND) if fl_ctx is not None else None
        self._publish(weights_of(learnable), _round(number))

    def _publish(self, weights: Any, round_: int) -> None:
        if weights is None or self._published == (id(weights), round_):
            return  # cyclic saves its last model twice
        model = model_of(weights)
        self._federation.publish(model, round=round_, metrics=self._metrics)
        self._published = (id(weights), round_)


def model_of(weights: Any) -> Model:
    """The arrays and numbers of a FLARE model; what is neither is left to the job's own files."""
    tensors: dict[str, Tensor] = {}
    _collect(weights, "", tensors, 0)
    if not tensors:
        raise InvalidModel(
            "the job's model holds no arrays", why="there is nothing that could be released"
        )
    return Model(tensors, {"framework": "flare"})


def _collect(value: Any, path: str, tensors: dict[str, Tensor], depth: int) -> None:
    if isinstance(value, Mapping) and depth < _DEPTH:
        for key, inner in value.items():
            _collect(inner, f"{path}/{key}" if path else str(key), tensors, depth + 1)
    elif isinstance(value, list | tuple) and depth < _DEPTH and not _is_numbers(value):
        for index, inner in enumerate(value):
            _collect(inner, f"{path}/{index}" if path else str(index), tensors, depth + 1)
    elif isinstance(value, np.ndarray):
        tensors[unique(path, tensors)] = to_tensor(value)[0]
    elif torch_tensors.is_tensor(value):
        tensors[unique(path, tensors)] = torch_tensors.to_tensor(value)[0]
    elif isinstance(value, bool | int | float | np.generic) or _is_numbers(value):
        tensors[unique(path, tensors)] = to_tensor(np.asarray(value))[0]


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(type(v) in (int, float) for v in value)
    )


def weights_of(learnable: Any) -> Any:
    """What a Learnable holds; a ModelLearnable keeps metadata beside it."""
    if isinstance(learnable, Mapping) and ModelLearnableKey.WEIGHTS in learnable:
        learnable = learnable[ModelLearnableKey.WEIGHTS]
    return learnable if isinstance(learnable, Mapping) and learnable else None


def _round(number: Any) -> int:
    return number + 1 if type(number) is int and number >= 0 else 0


def wrap(
    owner: Any,
    method: str,
    after: Callable[..., None],
    *,
    before: Callable[..., None] | None = None,
) -> None:
    original = getattr(owner, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            before(owner, *args, **kwargs)
        value = original(*args, **kwargs)
        after(owner, *args, **kwargs)
        return value

    setattr(owner, method, wrapped)
