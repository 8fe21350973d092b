"""How many sites stand behind each round, and so behind each output.

What counts is who has answered in *one* round, not in the whole job: with all sites but one cut
off after the first round, a model of the second is that site's own. A round here is what a
workload calls one; a site's second task of the same round and kind is a round of its own, with
those of the other sites that do it as well, so a workload that numbers nothing is counted, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fedgate.task import Task, TaskKind

#: Kinds whose results go into models.
_TRAINS = (TaskKind.TRAIN, TaskKind.CUSTOM)
#: Rounds, and ways to number them, that are kept; an older one counts as it stood, and whoever
#: answers in it after all does so alone.
_ROUNDS, _NUMBERS = 256, 64
_Round = tuple[int, TaskKind, int]


class Cohorts:
    """Of one job; feed it tasks as they go out and results as the coordinator gets them."""

    def __init__(self) -> None:
        self._turns: dict[tuple[int, TaskKind], Counter[str]] = {}  # tasks sent to each site
        self._rounds: dict[_Round, set[str]] = {}  # who has answered
        self._of: dict[str, _Round] = {}  # by task under way
        self._least: int | None = None  # of rounds that are not kept
        self._newest: _Round | None = None  # trained since the last model
        self._model: frozenset[str] = frozenset()

    def sent(self, ours: str, task: Task, absent: Iterable[str] = ()) -> None:
        """``absent``: sites that are not there now; this turn passes without them."""
        called = (task.round, task.kind)
        turns: Counter[str] = self._turns.pop(called, Counter())
        self._turns[called] = turns  # the newest is last
        if len(self._turns) > _NUMBERS:
            del self._turns[next(iter(self._turns))]
        turns[task.site] += 1
        turn = turns[task.site]
        for site in absent:
            turns[site] = max(turns[site], turn)
        self._of[ours] = (*called, turn)

    def given_up(self, ours: str) -> None:
        """No result of this task has reached, or will reach, the coordinator."""
        self._of.pop(ours, None)

    def delivered(self, ours: str, site: str) -> None:
        """The coordinator has the site's result."""
        round_ = self._of.pop(ours)
        self._rounds.setdefault(round_, set()).add(site)
        if round_[1] in _TRAINS:
            self._newest = round_
        if len(self._rounds) > _ROUNDS:
            size = len(self._rounds.pop(next(iter(self._rounds))))
            self._least = min(size, self._least or size)

    def of_model(self) -> frozenset[str]:
        """Whose training stands behind a model that is published now.

        The last round that trained since the model before; without one it is still that model.
        """
        if self._newest is not None:
            self._model = frozenset(self._rounds.get(self._newest, ()))
            self._newest = None
        return self._model

    def smallest(self) -> int | None:
        """Sites of the round that fewest answered, of any kind; None when none was answered.

        What a coordinator prints and writes can hold any answer that it has ever got.
        """
        sizes = [*map(len, self._rounds.values()), *([] if self._least is None else [self._least])]
        return min(sizes, default=None)
