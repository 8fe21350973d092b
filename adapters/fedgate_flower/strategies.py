"""Where both families of Flower strategies let their results be seen.

The methods that every strategy has are watched on the classes, so an app that overrides
``aggregate_train`` or ``start`` is seen as well. Only the outermost call counts: a strategy that
wraps another one (differential privacy does) returns the noisy model, and the clean one that the
inner strategy returned must never be released.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.common import Parameters
from flwr.serverapp.strategy import Strategy

from fedgate_flower._flwr_private import LegacyStrategy
from fedgate_flower.outcome import Outcome
from fedgate_flower.watching import watch

_Call = Callable[..., Any]
_Args = tuple[Any, ...]
_Kwargs = dict[str, Any]


def watch_strategies(outcome: Outcome) -> None:
    """Report what strategies return to ``outcome``; once per process."""
    modern, legacy = _Modern(outcome), _Legacy(outcome)
    watch(
        Strategy,
        {
            "aggregate_train": modern.aggregate_train,
            "aggregate_evaluate": modern.aggregate_evaluate,
            "start": modern.start,
        },
    )
    watch(
        LegacyStrategy,
        {
            "aggregate_fit": legacy.aggregate_fit,
            "aggregate_evaluate": legacy.aggregate_evaluate,
            "evaluate": legacy.evaluate,
        },
    )


class _Modern:
    """Strategies of ``flwr.serverapp.strategy``."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def aggregate_train(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        result = call(strategy, *args, **kwargs)
        arrays, metrics = _pair(result)
        if isinstance(arrays, ArrayRecord):
            self._outcome.aggregated(_round(args, kwargs), arrays)
        self._outcome.measured(_round(args, kwargs), "train", metrics)
        return result

    def aggregate_evaluate(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        metrics = call(strategy, *args, **kwargs)
        self._outcome.measured(_round(args, kwargs), "evaluate", metrics)
        return metrics

    def start(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        """See the app's own evaluation of the global model, which is an argument of ``start``."""
        bound = inspect.signature(call).bind(strategy, *args, **kwargs)
        evaluate = bound.arguments.get("evaluate_fn")
        if evaluate is not None:

            def watched(number: int, arrays: ArrayRecord) -> MetricRecord | None:
                metrics: MetricRecord | None = evaluate(number, arrays)
                self._outcome.measured(number, "server", metrics)
                return metrics

            bound.arguments["evaluate_fn"] = watched
        result = call(*bound.args, **bound.kwargs)
        arrays = getattr(result, "arrays", None)
        if isinstance(arrays, ArrayRecord):
            self._outcome.returned(arrays)
        return result


class _Legacy:
    """Strategies of ``flwr.server.strategy``."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def aggregate_fit(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        result = call(strategy, *args, **kwargs)
        parameters, metrics = _pair(result)
        if isinstance(parameters, Parameters):
            self._outcome.aggregated(_round(args, kwargs), _record_of(parameters))
        self._outcome.measured(_round(args, kwargs), "train", metrics)
        return result

    def aggregate_evaluate(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        result = call(strategy, *args, **kwargs)
        self._outcome.measured(_round(args, kwargs), "evaluate", _loss_and_metrics(result))
        return result

    def evaluate(self, call: _Call, strategy: Any, args: _Args, kwargs: _Kwargs) -> Any:
        result = call(strategy, *args, **kwargs)
        self._outcome.measured(_round(args, kwargs), "server", _loss_and_metrics(result))
        return result


def _round(args: _Args, kwargs: Mapping[str, Any]) -> int:
    number = kwargs.get("server_round", args[0] if args else 0)
    return number if type(number) is int and number >= 0 else 0


def _pair(result: object) -> tuple[object, object]:
    """What the method should return; an app's own method may return whatever its caller expects."""
    return result if isinstance(result, tuple) and len(result) == 2 else (None, None)


def _loss_and_metrics(result: object) -> dict[str, Any]:
    loss, metrics = _pair(result)
    return {"loss": loss, **(metrics if isinstance(metrics, Mapping) else {})}


def _record_of(parameters: Parameters) -> ArrayRecord:
    """Legacy parameters have no names; Flower numbers them, and so do we."""
    record = ArrayRecord()
    for index, data in enumerate(parameters.tensors):
        record[str(index)] = Array(
            dtype="", shape=(), stype=parameters.tensor_type, data=bytes(data)
        )
    return record
