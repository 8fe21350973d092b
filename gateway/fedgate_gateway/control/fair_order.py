"""In which order queued jobs are tried: everybody's turn comes, whoever submits how many."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from fedgate_gateway.control.records import JobRecord

#: Projects and submitters whose last turn is remembered; who had none for long comes first anyway.
_REMEMBERED = 10_000


class FairOrder:
    """Projects take turns, and in each project its submitters; each one's oldest job is first.

    Next is whoever has the fewest jobs under way; of equals, whose last turn is longest ago, and
    then whose job has waited longest.
    """

    def __init__(self) -> None:
        self._turns = itertools.count(1)
        self._last: dict[tuple[str, ...], int] = {}

    def started(self, job: JobRecord) -> None:
        """The job's project and submitter have had their turn."""
        turn = next(self._turns)
        for who in ((job.project,), (job.project, job.submitter)):
            self._last.pop(who, None)
            self._last[who] = turn
        while len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]

    def of(self, queued: Iterable[JobRecord], under_way: Iterable[JobRecord]) -> list[JobRecord]:
        """``queued``, which is ordered from old to new, in the order of turns."""
        waiting: dict[str, dict[str, deque[JobRecord]]] = defaultdict(lambda: defaultdict(deque))
        for job in queued:
            waiting[job.project][job.submitter].append(job)
        running: Counter[tuple[str, ...]] = Counter()
        for job in under_way:
            running.update(((job.project,), (job.project, job.submitter)))
        order: list[JobRecord] = []

        def rank(who: tuple[str, ...], oldest: str) -> tuple[int, int, str]:
            return running[who], self._last.get(who, 0), oldest

        while waiting:
            project = min(
                waiting, key=lambda p: rank((p,), min(jobs[0].id for jobs in waiting[p].values()))
            )
            theirs = waiting[project]
            submitter = min(theirs, key=lambda s: rank((project, s), theirs[s][0].id))
            order.append(theirs[submitter].popleft())
            running.update(((project,), (project, submitter)))
            if not theirs[submitter]:
                del theirs[submitter]
            if not theirs:
                del waiting[project]
        return order
