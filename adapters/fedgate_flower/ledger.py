"""Which rounds had an answer: Flower returns normally even when every client failed."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedgate.errors import WorkloadFailed
from fedgate.task import TaskKind

_MOST_REASONS = 3
_LONGEST = 300
#: An exception as Flower's error replies tell it.
_RAISED = re.compile(r"<class '(?:\w+\.)*(\w+)'>:<'(.*)'>", re.DOTALL)


@dataclass(frozen=True)
class Failed:
    """Why a task had no answer, for two readers.

    ``reason`` becomes the job's, which the gateway stores in clear. ``said`` is the text of the
    site's own reply or exception: it can hold a row of data, so only the job's log gets it.
    """

    reason: str
    said: str = ""

    @property
    def told(self) -> str:
        match = _RAISED.fullmatch(self.said)
        return f"{match[1]}: {match[2]}" if match else self.said or self.reason


@dataclass
class _Tally:
    answers: int = 0
    failures: dict[str, Failed] = field(default_factory=dict)  # site -> the last one


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

    def record(self, kind: TaskKind, number: int, site: str, failure: Failed | None) -> None:
        """One result: ``failure`` is None for an answer."""
        with self._lock:
            tally = self._tallies.setdefault((kind, number), _Tally())
            if failure is None:
                tally.answers += 1
            else:
                tally.failures[site] = failure

    def total_failure(self) -> WorkloadFailed | None:
        """The error of a job that nobody answered, or None. What sites said is printed: the log
        is sealed or kept where the error is not.
        """
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
            for site, failure in tally.failures.items():
                print(f"no answer{when} from {site}: {failure.told}", flush=True)
            return WorkloadFailed(
                f"all clients failed{when}",
                why=_reasons(tally.failures),
                remedy="the job's log has what they said, each site's own log the tracebacks",
            )


def _reasons(failures: Mapping[str, Failed]) -> str:
    items = list(failures.items())
    text = "; ".join(f"{site}: {f.reason[:_LONGEST]}" for site, f in items[:_MOST_REASONS])
    if len(items) > _MOST_REASONS:
        text += f"; and {len(items) - _MOST_REASONS} more"
    return text or "no task was answered"
