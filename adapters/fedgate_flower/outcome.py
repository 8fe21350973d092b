"""What a ServerApp arrived at: its model and its metrics, which Flower leaves inside app code."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, RecordDict

from fedgate.adapter import Federation
from fedgate.model import Model
from fedgate_flower.arrays import take_apart
from fedgate_flower.messages import finite

#: Numbers of one list that are reported.
_MOST_OF_A_LIST = 32


class Outcome:
    """Reports metrics as they come, and offers the last model when the app has returned.

    The model waits until then because only the last one counts, and handing over each would keep
    another copy of it in memory. Arrays are noted at once, record by record: apps empty their
    records to save memory (``keep_input=False``). Thread-safe.
    """

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._metrics: dict[int, dict[str, float]] = {}
        self._model: tuple[int, dict[str, Array], str] | None = None
        self._lock = threading.Lock()

    def aggregated(self, number: int, arrays: ArrayRecord) -> None:
        """A strategy returned the model of a round of training."""
        with self._lock:
            if arrays:
                self._model = (number, dict(arrays.items()), "aggregate")

    def returned(self, arrays: ArrayRecord) -> None:
        """A strategy ended with these arrays; news only if nobody saw it aggregate."""
        with self._lock:
            if arrays and (self._model is None or self._model[2] == "sent"):
                number = max(self._metrics, default=0)
                self._model = (number, dict(arrays.items()), "aggregate")

    def sent(self, number: int, content: RecordDict) -> None:
        """The model that sites were given: all there is to know when no strategy aggregates."""
        records = [(k, r) for k, r in content.items() if isinstance(r, ArrayRecord)]
        arrays = {
            f"{record_name}/{name}" if len(records) > 1 else name: array
            for record_name, record in records
            for name, array in record.items()
        }
        with self._lock:
            if arrays and (self._model is None or self._model[2] == "sent"):
                self._model = (number, arrays, "sent")

    def measured(self, number: int, source: str, metrics: object) -> None:
        """Metrics of a round; a name that the round already has is told apart by ``source``.

        Only the new ones are reported. A list of numbers is told as ``name.0``, ``name.1``, …
        """
        if not isinstance(metrics, Mapping):
            return
        with self._lock:
            known = self._metrics.setdefault(number, {})
            report: dict[str, float] = {}
            for name, plain in _numbers(metrics):
                report[name if name not in known else f"{source}.{name}"] = plain
            known |= report
        if report:
            self._federation.publish(None, round=number, metrics=report)

    def publish(self) -> None:
        """Offer the job's model, its tensors under the app's own array names.

        ``source`` in its metadata says whether it is what a strategy aggregated, or, for an app
        that aggregates by itself, what the sites were sent last.
        """
        if self._model is None:
            return
        number, arrays, source = self._model
        tensors = {name: take_apart(array).tensor for name, array in arrays.items()}
        if "__metadata__" in tensors:  # the one name that the file format keeps for itself
            tensors["arrays/__metadata__"] = tensors.pop("__metadata__")
        model = Model(tensors, {"source": source})
        self._federation.publish(model, round=number, metrics=self._metrics.get(number, {}))


def _numbers(metrics: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        listed = isinstance(value, list | tuple)
        for index, item in enumerate(value[:_MOST_OF_A_LIST] if listed else [value]):
            if (plain := finite(item)) is not None:
                yield (f"{name}.{index}" if listed else str(name)), plain
