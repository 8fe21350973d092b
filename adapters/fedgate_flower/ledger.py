"""Which rounds had an answer: Flower returns normally even when every client failed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedgate.errors import WorkloadFailed
from fedgate.task import TaskKind

_MOST_REASONS = 3


@dataclass
class _Tally:
    answers: int = 0
    failures: dict[str, str] = field(default_factory=dict)  # site -> last reason


@dataclass
class Ledger:
    """Counts answers and failures for each kind and round. Thread-safe.

    Training decides: a job whose last round of training had no answer has failed, and so has a
    job without training whose last round of anything had none. Evaluation that fails everywhere
    does not undo a training that worked (apps without an ``evaluate`` function are common, and
    Flower asks for one by default).
    """

    _tallies: dict[tuple[TaskKind, int], _Tally] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, kind: TaskKind, number: int, site: str, failure: str | None) -> None:
        """One result: ``failure`` is None for an answer."""
        with self._lock:
            tally = self._tallies.setdefault((kind, number), _Tally())
            if failure is None:
                tally.answers += 1
            else:
                tally.failures[site] = failure

    def total_failure(self) -> WorkloadFailed | None:
        """The error of a job that nobody answered, or None."""
        with self._lock:
            training = [key for key in self._tallies if key[0] is TaskKind.TRAIN]
            keys = training or list(self._tallies)
            if not keys:
                return None
            kind, number = keys[-1]
            tally = self._tallies[kind, number]
            if tally.answers:
                return None
            when = f" in round {number}" if number else ""
            return WorkloadFailed(
                f"all clients failed{when}",
                why=_reasons(tally.failures.items()),
                remedy="each site's own log has the details",
            )


def _reasons(failures: Iterable[tuple[str, str]]) -> str:
    items = list(failures)
    text = "; ".join(f"{site}: {reason[:300]}" for site, reason in items[:_MOST_REASONS])
    if len(items) > _MOST_REASONS:
        text += f"; and {len(items) - _MOST_REASONS} more"
    return text or "no task was answered"
