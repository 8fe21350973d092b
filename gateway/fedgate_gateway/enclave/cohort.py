"""How many sites stand behind each round, and so behind each output.

What counts is who has answered in *one* round, not in the whole job: with all sites but one cut
off after the first round, a model of the second is that site's own. A round here is a batch:

- what an adapter says was sent out together (``batch``), whatever number of dispatches it took;
- or the tasks of one kind under one number, where the workload numbers its rounds; a model that is
  published ends it, so a workload whose number stands still is counted as well;
- or one dispatch, where it numbers nothing.

A site's second task in one of them is a new batch, with those that do it as well. In doubt it is
two batches and never one: the smaller count is the safe one.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass, field

from fedgate.task import Task, TaskKind

#: Kinds whose results go into models, whatever is in them.
_TRAINS = frozenset({TaskKind.TRAIN, TaskKind.CUSTOM})
#: Batches without tasks under way that are kept; an older one counts as it stood, and whoever
#: answers in it after all does so alone.
_KEPT = 256


@dataclass(eq=False)
class _Batch:
    kind: TaskKind
    group: Hashable
    told: bool  # by the adapter
    passed: set[str] = field(default_factory=set)  # were asked, or were not there to be asked
    answered: set[str] = field(default_factory=set)
    under_way: int = 0


class Cohorts:
    """Of one job; feed it tasks as they go out and results as the coordinator gets them."""

    def __init__(self) -> None:
        self._newest: dict[Hashable, _Batch] = {}  # by group
        self._batches: dict[_Batch, None] = {}  # in the order in which they began
        self._of: dict[str, tuple[_Batch, str]] = {}  # by task under way; and its site
        self._models = 0  # published so far
        self._carried: _Batch | None = None  # the last one that sent arrays
        #: The smallest of those that are not kept: of all, and of those that trained.
        self._least: frozenset[str] | None = None
        self._least_trained: frozenset[str] | None = None

    def sent(
        self,
        ours: str,
        task: Task,
        *,
        batch: str = "",
        dispatch: int | None = None,
        absent: Iterable[str] = (),
    ) -> None:
        """``absent``: sites that are not there now; a numbered round passes without them."""
        group, repeats = self._group(ours, task, batch, dispatch)
        current = self._newest.get(group)
        if current is None or (repeats and task.site in current.passed):
            current = self._newest[group] = _Batch(task.kind, group, bool(batch))
            self._batches[current] = None
        current.passed.add(task.site)
        if not batch:
            current.passed.update(absent)
        current.under_way += 1
        self._of[ours] = (current, task.site)

    def _group(
        self, ours: str, task: Task, batch: str, dispatch: int | None
    ) -> tuple[Hashable, bool]:
        """What the task belongs to, and whether a site's second task there is a new batch."""
        if batch:
            return (task.kind, batch), True
        if task.round:
            return (task.kind, task.round, self._models), True
        return (task.kind, "dispatch", ours if dispatch is None else dispatch), False

    def given_up(self, ours: str) -> None:
        """No result of this task has reached, or will reach, the coordinator."""
        batch, site = self._of.pop(ours)
        batch.under_way -= 1
        if batch.told:  # a framework hands a task out again to a site that has come back
            batch.passed.discard(site)
        self._tidy()

    def delivered(self, ours: str, *, arrays: bool) -> None:
        """The coordinator has the site's result; ``arrays``: with a model in it."""
        batch, site = self._of.pop(ours)
        batch.under_way -= 1
        batch.answered.add(site)
        if arrays:
            self._carried = batch
        self._tidy()

    def _tidy(self) -> None:
        if len(self._batches) <= _KEPT + len(self._of):
            return
        old = next(b for b in self._batches if not b.under_way)
        del self._batches[old]
        if self._newest.get(old.group) is old:
            del self._newest[old.group]
        if old.answered:
            sites = frozenset(old.answered)
            self._least = _smaller(self._least, sites)
            if old.kind in _TRAINS:
                self._least_trained = _smaller(self._least_trained, sites)

    # -- what stands behind an output --------------------------------------------------------

    def of_model(self) -> frozenset[str]:
        """Whose results stand behind a model that is published now: the fewest of any batch.

        It can hold any training so far, and what came with arrays in it last, whatever was asked
        for; empty where there is neither.
        """
        self._models += 1
        least = self._smallest(self._least_trained, _TRAINS)
        if self._carried is not None:
            least = _smaller(least, frozenset(self._carried.answered))
        return least or frozenset()

    def smallest(self) -> frozenset[str] | None:
        """The sites of the batch that fewest answered, of any kind; None when none was answered.

        What a coordinator prints and writes can hold any answer that it has ever got.
        """
        return self._smallest(self._least, frozenset(TaskKind))

    def _smallest(
        self, least: frozenset[str] | None, kinds: Collection[TaskKind]
    ) -> frozenset[str] | None:
        for batch in self._batches:
            if batch.answered and batch.kind in kinds:
                least = _smaller(least, frozenset(batch.answered))
        return least


def _smaller(one: frozenset[str] | None, other: frozenset[str]) -> frozenset[str]:
    """Of two as small, the later: what a box says is then of the last round."""
    return one if one is not None and len(one) < len(other) else other
