"""Sites that are gone: said once by Fedgate's sessions, believed at once by every workflow.

FLARE alone would wait for tens of seconds in each workflow, and could then finish with fewer sites
than the job asks for. Here the minimum is enforced before anything else, and standing broadcasts
stop waiting for the lost site.
"""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey

from fedgate.adapter import Federation
from fedgate.task import TaskKind
from fedgate_flare import _nvflare_private as private
from fedgate_flare import standing, status
from fedgate_flare.job_folder import JobMeta
from fedgate_flare.messages import kind_of
from fedgate_flare.wake import Bell

#: Seconds that a site which came back has until its new worker is ready.
RETURN_SECONDS = 60.0
_LOOK = 0.5
_LOG = logging.getLogger("fedgate.flare")


class Liveness:
    def __init__(
        self,
        server: Any,
        meta: JobMeta,
        roster: tuple[str, ...],
        bell: Bell,
        fail: Callable[[str], None],
    ) -> None:
        self._server = server
        self._meta = meta
        self._roster = roster
        self._bell = bell
        self._fail = fail
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self.lost: set[str] = set()
        self.now_lost = _Lost(self)

    def report(self, site: str, reason: str) -> None:
        """A site is gone for good. Any thread, any number of times; the first reason counts."""
        with self._lock:
            if site in self.lost or site not in self._roster:
                return
            self._reasons[site] = reason
            self.lost = self.lost | {site}  # a new set: others iterate over the old one
        if problem := self.problem():
            self._fail(problem)
        self.settle()
        self._bell.ring()

    def gone(self, site: str, reason: str, federation: Federation) -> None:
        """What Fedgate says of a site; one that is on its way back is not lost yet."""
        if _state(federation, site) is _State.GONE or not self._can_go_on_after_return():
            self.report(site, reason)
        else:
            _LOG.warning("%s is back with a new process; what it kept in memory is forgotten", site)
            self._bell.ring()

    def comes_back(self, site: str, reason: str, federation: Federation) -> bool:
        """Wait for a site that could not do a task; False: it is lost, and reported as such."""
        deadline = time.monotonic() + RETURN_SECONDS
        while self._can_go_on_after_return() and not federation.cancelled:
            state, seen = _state(federation, site), self._bell.rings
            if site in self.lost or state is _State.GONE or time.monotonic() > deadline:
                break
            if state is _State.THERE:
                return True
            self._bell.wait(seen, _LOOK)
        self.report(site, reason)
        return False

    @staticmethod
    def _can_go_on_after_return() -> bool:
        """Where sites steer the workflow themselves, their place in it is lost with the process."""
        return not status.is_controlled_by_sites()

    def stop(self, reason: str) -> None:
        """End the job for a reason that is no lost site."""
        self._fail(reason)
        self._bell.ring()

    def problem(self) -> str:
        """Why the job cannot go on without the lost sites; empty if it can."""
        left = [s for s in self._roster if s not in self.lost]
        if not left:
            return f"every site is gone: {self._why(self.lost)}"
        if len(left) < self._meta.min_clients:
            return (
                f"{', '.join(sorted(self.lost))} is gone; {len(left)} of {len(self._roster)} sites "
                f"are left and the job's min_clients is {self._meta.min_clients}; "
                f"{self._why(self.lost)}"
            )
        if missing := set(self._meta.mandatory) & self.lost:
            return f"mandatory sites are gone: {self._why(missing)}"
        return ""

    def _why(self, sites: set[str]) -> str:
        return "; ".join(f"{s}: {self._reasons.get(s) or 'no reason'}" for s in sorted(sites))

    def settle(self) -> None:
        """Tell the running workflow, and take lost sites out of what it waits for."""
        if not self.lost:
            return
        clients = self._server.client_manager.clients
        for token in [t for t, c in list(clients.items()) if c.name in self.lost]:
            clients.pop(token, None)  # later rounds are not addressed to it
        communicator = standing.communicator_of(self._server)
        if communicator is None:
            return
        for site in self._newly_disconnected(communicator):
            with self._server.engine.new_context() as context:
                context.set_prop(FLContextKey.DISCONNECTED_CLIENT_NAME, site)
                communicator.fire_event(EventType.CLIENT_DISCONNECTED, context)
        problems = self._trim(communicator)
        if problems:
            self._fail(problems[0])

    def _newly_disconnected(self, communicator: Any) -> list[str]:
        """Dead lists belong to a workflow, so each new one is told again."""
        found = []
        with communicator._dead_clients_lock:
            for site in self.lost:
                status = communicator._dead_clients.setdefault(site, private.DeadClientStatus())
                if not status.disconnect_time:
                    status.disconnect_time = time.time()
                    found.append(site)
        return found

    def _trim(self, communicator: Any) -> list[str]:
        problems: list[str] = []
        with communicator._task_lock:
            for task in communicator._tasks:
                if task.completion_status is not None or not standing.is_broadcast(task):
                    continue
                waited_for = [
                    s
                    for s in self.lost.intersection(task.targets)
                    if not standing.has_answered(task, s)
                ]
                problems += [why for s in waited_for if (why := _drop(communicator, task, s))]
        return problems


class _Lost(Collection[str]):
    """The lost sites at the moment of asking."""

    def __init__(self, liveness: Liveness) -> None:
        self._liveness = liveness

    def __contains__(self, site: object) -> bool:
        return site in self._liveness.lost

    def __iter__(self) -> Iterator[str]:
        return iter(self._liveness.lost)

    def __len__(self) -> int:
        return len(self._liveness.lost)


class _State(enum.Enum):
    THERE = enum.auto()
    RETURNING = enum.auto()
    GONE = enum.auto()


def _state(federation: Federation, site: str) -> _State:
    for info in federation.sites():
        if info.name == site and (info.online or info.returning):
            return _State.THERE if info.online else _State.RETURNING
    return _State.GONE


def _drop(communicator: Any, task: Any, site: str) -> str:
    """Stop waiting for ``site``; gives the reason where that would go below the task's minimum."""
    left = len(task.targets) - 1
    needed = standing.minimum(task)
    if left < 1 or (left < needed and kind_of(task.name) is TaskKind.TRAIN):
        return f"{site} is gone; {task.name!r} needs {needed or 1} sites and {left} are left"
    if left < needed:  # nothing is aggregated from it: the others' answers are worth having
        standing.set_minimum(task, left)
    standing.take_out(communicator, task, site)
    return ""
