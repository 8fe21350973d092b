"""Keeping the book of rounds: what was sent, what came back, and what it says in numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fedgate.task import Result, Round, Task, TaskKind


@dataclass
class _Open:
    number: int
    kind: TaskKind
    started: float
    waiting: int = 0
    sites: dict[str, None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> (sum, weight)
    sent: int = 0
    received: int = 0
    last: float = 0.0


class RoundBook:
    """One round is open at a time; it closes when tasks of another begin, or on :meth:`close`.

    Frameworks that let each site come for its task have moments without any task under way, so
    "nothing outstanding" alone does not end a round.
    """

    def __init__(self, on_round: Callable[[Round], None]) -> None:
        self._on_round = on_round
        self._open: _Open | None = None

    def sent(self, task: Task, size: int) -> None:
        current = self._open
        if current is None or (current.number, current.kind) != (task.round, task.kind):
            self.close()
            current = self._open = _Open(task.round, task.kind, time.monotonic())
        current.sites[task.site] = None
        current.waiting += 1
        current.sent += size

    def received(self, task: Task, result: Result, size: int) -> None:
        current = self._open
        if current is None or (current.number, current.kind) != (task.round, task.kind):
            return  # late; its round is closed
        current.waiting -= 1
        current.received += size
        current.last = time.monotonic()
        if result.error is not None:
            current.failed[task.site] = str(result.error.failure)
            return
        weight = float(result.examples) if result.examples else 1.0
        for name, value in result.metrics.items():
            if math.isfinite(value):
                total, weights = current.sums.get(name, (0.0, 0.0))
                current.sums[name] = (total + value * weight, weights + weight)

    @property
    def idle(self) -> bool:
        return self._open is not None and self._open.waiting == 0

    def close(self) -> None:
        current, self._open = self._open, None
        if current is None:
            return
        self._on_round(
            Round(
                number=current.number,
                kind=current.kind,
                sites=tuple(current.sites),
                failed=current.failed,
                metrics={k: total / weight for k, (total, weight) in current.sums.items()},
                sent_bytes=current.sent,
                received_bytes=current.received,
                seconds=max(0.0, (current.last or time.monotonic()) - current.started),
            )
        )
