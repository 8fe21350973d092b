"""What happened in each round: who was sent a task, who answered, who did not, and what it took.

Several rounds can be open at once: answers are late, or asynchronous, or evaluation runs beside
training. Every task counts in the round that it was sent in, once, when it is settled. What belongs
to a round follows from what the workload does and in which order, never from how long it takes: a
busy machine writes the same record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from fedgate.task import Failure, Result, Round, Task, TaskKind

#: Metrics of one round that are told, and bytes of their names as JSON.
_METRICS, _METRIC_BYTES = 200, 8 * 1024
#: Tasks given up whose answers are still recognised when they come after all.
_GIVEN_UP = 1000
#: Rounds that nobody was sent a task of yet.
_UNSENT = 1000
#: Rounds of steps that nobody ended and no task is under way of.
_STEPS = 256


def group_of(task: Task, *, step: str, batch: str, dispatch: int | None) -> Hashable:
    """What a task shares with the others of its round: the framework's step, or the number that the
    workload gives, or, where there is neither, what was sent out together.
    """
    if step:
        return (task.kind, step)
    return (task.kind, task.round, None if task.round else batch or dispatch)


@dataclass(eq=False)
class _Open:
    group: Hashable
    step: str  # which the adapter ends; empty: it ends when something else begins
    number: int  # the enclave's own
    workload_number: int
    kind: TaskKind
    started: float
    waiting: dict[str, str] = field(default_factory=dict)  # task -> site
    sites: dict[str, None] = field(default_factory=dict)
    answered: dict[str, None] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    unreached: dict[str, Failure] = field(default_factory=dict)
    sums: dict[str, tuple[float, float]] = field(default_factory=dict)  # name -> (sum, weight)
    metric_sites: dict[str, set[str]] = field(default_factory=dict)  # name -> who reported it
    metric_bytes: int = 0
    metrics_left_out: int = 0
    tasks: int = 0
    answers: int = 0
    late: int = 0
    sent: int = 0
    received: int = 0
    last: float = 0.0
    ended: bool = False  # its step: no more tasks are to come
    over: bool = False


@dataclass
class _Unsent:
    """Tasks that reached nobody, counted: a workload may ask for a site that is gone for ever."""

    tasks: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)  # by site


@dataclass
class Unrecorded:
    """What belongs to no round that was written: answers after its end, tasks sent to nobody."""

    #: Round -> answers that came after it was written.
    late: dict[int, int] = field(default_factory=dict)
    late_bytes: int = 0
    #: Tasks of rounds in which no site could be reached.
    unsent: int = 0


class RoundTracker:
    """``on_round`` gets each round once, when all of its tasks are settled and no more come: the
    adapter has ended its step or, of rounds without one, another has begun or the workload has
    published; or at the end of the job.

    Rounds are numbered 1, 2, … as they open (0: a query before all others): what a workload calls
    them is its own affair. Only whether two rounds in a row, of different kinds, belong together is
    taken from it.
    """

    def __init__(self, on_round: Callable[[Round], None], clock: Callable[[], float]) -> None:
        self._on_round = on_round
        self._clock = clock
        self._open: dict[Hashable, _Open] = {}  # by group
        self._round_of: dict[str, _Open] = {}  # by task under way
        self._given_up: dict[str, _Open] = {}  # by task
        self._unsent: dict[Hashable, _Unsent] = {}  # of groups that are not open
        #: The round opened last: what the workload calls it, our number, its kinds.
        self._newest: tuple[int, int, set[TaskKind]] = (-1, 0, set())
        self.unrecorded = Unrecorded()

    # -- tasks ---------------------------------------------------------------------------------

    def sent(self, ours: str, task: Task, size: int, group: Hashable, step: str = "") -> None:
        """A task went out; ``ours`` is its id as the enclave has it, ``group`` :func:`group_of` it.

        One that goes out again, because its site came back, is a task of the same round.
        """
        current = self._open.get(group) or self._begin(task, group, step)
        current.sites[task.site] = None
        current.waiting[ours] = task.site
        current.tasks += 1
        current.sent += size
        self._round_of[ours] = current

    def unreached(self, task: Task, failure: Failure, group: Hashable) -> None:
        """A task could not be sent at all: its site took no part."""
        current = self._open.get(group)
        if current is not None:
            current.tasks += 1
            current.unreached[task.site] = failure
            return
        unsent = self._unsent.setdefault(group, _Unsent())
        unsent.tasks += 1
        unsent.failures[task.site] = failure
        if len(self._unsent) > _UNSENT:
            self.unrecorded.unsent += self._unsent.pop(next(iter(self._unsent))).tasks

    def settled(self, ours: str, result: Result, size: int) -> None:
        """Its answer arrived, or it was given up with ``result.error``."""
        current = self._round_of.pop(ours)
        site = current.waiting.pop(ours)
        current.received += size
        current.last = self._clock()
        if result.error is None:
            current.answered[site] = None
            current.answers += 1
            self._add_metrics(current, result)
        else:
            current.failed[site] = result.error.failure
            self._given_up[ours] = current
            if len(self._given_up) > _GIVEN_UP:
                del self._given_up[next(iter(self._given_up))]
        if current.ended and not current.waiting:
            self._close(current)

    def late(self, ours: str, size: int) -> None:
        """An answer to a task that was given up; any other answer counts nowhere."""
        of = self._given_up.pop(ours, None)
        if of is None:
            return
        if of.over:
            self.unrecorded.late[of.number] = self.unrecorded.late.get(of.number, 0) + 1
            self.unrecorded.late_bytes += size
        else:
            of.late += 1
            of.received += size

    @staticmethod
    def _add_metrics(current: _Open, result: Result) -> None:
        weight = float(result.examples) if result.examples else 1.0
        for name, value in result.metrics.items():
            if not math.isfinite(value):
                continue
            if name not in current.sums:
                size = len(json.dumps(name))
                if len(current.sums) >= _METRICS or current.metric_bytes + size > _METRIC_BYTES:
                    current.metrics_left_out += 1
                    continue
                current.metric_bytes += size
            current.metric_sites.setdefault(name, set()).add(result.site)
            total, weights = current.sums.get(name, (0.0, 0.0))
            current.sums[name] = (total + value * weight, weights + weight)

    # -- rounds --------------------------------------------------------------------------------

    def number_of(self, workload_number: int) -> int:
        """Our number of the newest round that the workload calls so; otherwise of the newest."""
        open_now = [r.number for r in self._open.values() if r.workload_number == workload_number]
        return max(open_now, default=self._newest[1])

    def _begin(self, task: Task, group: Hashable, step: str) -> _Open:
        self._end_settled()
        called, number, kinds = self._newest
        if number == 0 and not kinds and task.kind is TaskKind.QUERY:
            pass  # asked before anything else: round 0
        elif called != task.round or task.kind in kinds:
            number, kinds = number + 1, set()
        kinds.add(task.kind)
        self._newest = (task.round, number, kinds)
        begun = _Open(group, step, number, task.round, task.kind, self._clock())
        if unsent := self._unsent.pop(group, None):
            begun.tasks += unsent.tasks
            begun.unreached.update(unsent.failures)
        self._open[group] = begun
        return begun

    def published(self) -> None:
        """The workload has made something of what it has."""
        self._end_settled()

    def end_step(self, step: str) -> None:
        """No more tasks of it will be sent. Steps that are not open are none of ours."""
        for current in [r for r in self._open.values() if r.step == step]:
            current.ended = True
            if not current.waiting:
                self._close(current)

    def _end_settled(self) -> None:
        settled = [r for r in self._open.values() if not r.waiting]
        unended = [r for r in settled if r.step]
        kept = unended[max(0, len(unended) - _STEPS) :]
        for current in settled:  # in the order they began in
            if current not in kept:
                self._close(current)

    def close(self) -> None:
        """The job is over: rounds with tasks under way are written as abandoned."""
        for current in list(self._open.values()):
            self._close(current)
        self._round_of.clear()
        self.unrecorded.unsent += sum(unsent.tasks for unsent in self._unsent.values())
        self._unsent.clear()

    def _close(self, current: _Open) -> None:
        del self._open[current.group]
        current.over = True
        self._on_round(
            Round(
                number=current.number,
                kind=current.kind,
                sites=tuple(current.sites),
                answered=tuple(current.answered),
                failed=current.failed,
                unreached=current.unreached,
                abandoned=tuple(dict.fromkeys(current.waiting.values())),
                metrics={k: total / weight for k, (total, weight) in current.sums.items()},
                metric_sites={k: len(sites) for k, sites in current.metric_sites.items()},
                metrics_left_out=current.metrics_left_out,
                tasks=current.tasks,
                answers=current.answers,
                late=current.late,
                sent_bytes=current.sent,
                received_bytes=current.received,
                seconds=max(0.0, (current.last or self._clock()) - current.started),
            )
        )
