"""Until when a broadcast takes results, and that no result comes in afterwards.

FLARE closes a broadcast at the first look after the minimum of its results came in, looks every
0.2 s, and its sites start tasks up to two seconds apart, because they poll. Here nothing polls, so
that the look would come between two results that differ by a millisecond. The window makes up for
it: a broadcast with a minimum stays open for a while for those that are still at it, and always for
a result that is here already.

FLARE hands results of closed tasks to ``process_result_of_unknown_task``, where ScatterAndGather
adds them to whatever round is on. Its own clients ask first whether a task still stands, which
leaves a gap; here the question and the handing over are one step.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from typing import Any

from nvflare.apis.controller_spec import TaskCompletionStatus

from fedgate_flare import _nvflare_private as private
from fedgate_flare import standing
from fedgate_flare.arrivals import Arrivals

#: Seconds that a broadcast which may go on with some of its sites waits for the others: about
#: what FLARE's sites differ in starting a task, because they ask for one every 2 s.
GRACE = 2.0
_ENOUGH_SINCE = "__fedgate_enough_since"
_LOG = logging.getLogger("fedgate.flare")


class Window:
    def __init__(self, arrivals: Arrivals, lost: Collection[str]) -> None:
        self._arrivals = arrivals
        self._lost = lost

    def here(self, task: Any) -> set[str]:
        """Sites whose results of the task came and are not handed over yet."""
        return {s.client.name for s in task.client_tasks if self._is_here(s)}

    def missing(self, task: Any) -> set[str]:
        """Sites that the task waits for.

        Where it may go on without, not those that are still busy with something else.
        """
        wanted = {t for t in task.targets if not standing.has_answered(task, t)}
        wanted.difference_update(self._lost)
        if not standing.may_go_on_without_some(task):
            return wanted
        return {t for t in wanted if not self._arrivals.is_elsewhere(t, standing.share_id(task, t))}

    def seconds_left(self, task: Any) -> float:
        """How long the task still waits for those that are missing; infinite: for all."""
        if not standing.may_go_on_without_some(task):
            return math.inf
        answered = sum(s.result_received_time is not None for s in task.client_tasks)
        if answered + len(self.here(task)) < standing.minimum(task):
            return math.inf
        since = task.props.setdefault(_ENOUGH_SINCE, time.monotonic())
        return float(since + GRACE - time.monotonic())

    def may_close(self, task: Any) -> bool:
        """May a task that has its minimum be closed?"""
        if self.here(task):
            return False
        return not self.missing(task) or self.seconds_left(task) <= 0

    def _is_here(self, share: Any) -> bool:
        return share.result_received_time is None and self._arrivals.is_here(
            share.client.name, share.id
        )


def guard(window: Window) -> None:
    """Have FLARE's broadcasts close by ``window``, and no closed task take a result."""
    manager, communicator = private.BcastTaskManager, private.WFCommServer
    check_exit, process = manager.check_task_exit, communicator._do_process_submission

    def check_task_exit(self: Any, task: Any) -> tuple[bool, Any]:
        over, status = check_exit(self, task)
        if over and not window.may_close(task):
            return False, TaskCompletionStatus.IGNORED
        return over, status

    def process_submission(
        self: Any, client: Any, task_name: str, task_id: str, result: Any, fl_ctx: Any
    ) -> None:
        if standing.is_open(self, task_id):
            process(self, client, task_name, task_id, result, fl_ctx)
        else:
            _LOG.warning(
                "the result of %s for %r came after the workflow had closed that task: dropped",
                client.name, task_name,
            )  # fmt: skip

    manager.check_task_exit = check_task_exit
    communicator._do_process_submission = process_submission
