"""Looking into a workflow's standing tasks: who is meant to do them, and who has."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fedgate_flare import _nvflare_private as private


def communicator_of(server: Any) -> Any | None:
    """The running workflow's :class:`WFCommServer`, or None between workflows."""
    runner = server.server_runner
    workflow = None if runner is None else runner.current_wf
    return None if workflow is None else workflow.controller.communicator


@contextmanager
def client_task(communicator: Any, task_id: str) -> Iterator[Any | None]:
    """The site's share of a task, under the lock that guards it; None once it is gone."""
    with communicator._task_lock:
        yield communicator._client_task_map.get(task_id)


def is_broadcast(task: Any) -> bool:
    return isinstance(task.props.get(private.KEY_TASK_MANAGER), private.BcastTaskManager)


def is_endless(task: Any) -> bool:
    return isinstance(task.props.get(private.KEY_TASK_MANAGER), private.BcastForeverTaskManager)


def minimum(task: Any) -> int:
    """Responses a broadcast needs; 0: from every target."""
    return int(task.props.get(private.KEY_MIN_RESPONSES) or 0)


def set_minimum(task: Any, number: int) -> None:
    task.props[private.KEY_MIN_RESPONSES] = number


def may_go_on_without_some(task: Any) -> bool:
    return 0 < minimum(task) < len(task.targets)


def share_id(task: Any, site: str) -> str:
    """The id under which ``site`` last got the task; empty: it did not get it yet."""
    share = task.last_client_task_map.get(site)
    return "" if share is None else str(share.id)


def is_open(communicator: Any, task_id: str) -> bool:
    """Does the workflow still wait for this very share of a task?

    A relay waits for the site that has it now: one that it gave up must not overwrite the model of
    those after it.
    """
    with client_task(communicator, task_id) as share:
        if share is None or share.task.completion_status is not None:
            return False
        if not isinstance(share.task.props.get(private.KEY_TASK_MANAGER), private.RELAYS):
            return True
        return share is share.task.client_tasks[-1]


def has_answered(task: Any, site: str) -> bool:
    share = task.last_client_task_map.get(site)
    return share is not None and share.result_received_time is not None


def take_out(communicator: Any, task: Any, site: str) -> None:
    """Stop waiting for ``site``, under the lock that guards tasks.

    Its share goes as well: an answer that is on its way, most likely an error, would otherwise
    count as that of a site that is still waited for.
    """
    task.targets.remove(site)
    task.last_client_task_map.pop(site, None)
    for share in [s for s in task.client_tasks if s.client.name == site]:
        task.client_tasks.remove(share)
        communicator._client_task_map.pop(share.id, None)
        share.result_received_time = time.time()  # so that a late answer is dropped as a second one
        communicator._remember_completed_client_task(share)


def due(task: Any) -> float:
    """When the workflow gives the task up, as ``time.time()``; infinite: it waits for ever."""
    if not task.timeout or task.schedule_time is None:
        return math.inf
    return float(task.schedule_time + task.timeout)


def seconds_left(task: Any) -> float:
    return due(task) - time.time()
