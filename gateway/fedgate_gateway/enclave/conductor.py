"""Between a coordinator child and the sites: every task gets exactly one result, in time.

Knows nothing of networks or keys: sites are reached through :class:`Sites`, which the enclave
host implements with sealed sessions and a local run with plain child processes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Model, read_layout
from fedgate.task import Failure, Frame, Result, Round, Task, TaskError, TaskKind
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, Incoming, check_message
from fedgate_gateway.child.memory import Buffer
from fedgate_gateway.child.parts import Part
from fedgate_gateway.child.serving import Deferred
from fedgate_gateway.enclave.roundbook import RoundBook

#: After this long without a task under way, a round is reported; a new task reopens nothing.
_ROUND_IDLE = 0.3
_MOST_PENDING = 10_000
#: Messages a coordinator may be behind with before a site's next frame counts as a flood.
_MOST_WAITING = 5_000


Carried = bytes | memoryview | Buffer | Deferred | None


class Sites(Protocol):
    """How a conductor reaches the sites of its job."""

    def send_task(self, task: Task, note: bytes, model: Part | None) -> None:
        """Send; ``model`` stays valid only while it is held."""

    def send_frame(self, site: str, frame: Frame, note: bytes) -> None: ...


@dataclass
class _Pending:
    task: Task  # without its model
    timer: asyncio.TimerHandle


@dataclass
class Published:
    """The model that would be released if the job ended now."""

    model: Part | None
    round: int
    metrics: Mapping[str, float]
    cohort: frozenset[str]


class Conductor:
    """One running coordinator. All methods run on the event loop."""

    def __init__(
        self,
        sites: Sequence[str],
        links: Sites,
        *,
        task_seconds: float,
        on_round: Callable[[Round], None],
        on_publish: Callable[[Published], None] = lambda _published: None,
    ) -> None:
        self.online = dict.fromkeys(sites, True)
        self._returning: set[str] = set()
        self.published: Published | None = None
        self.contributors: set[str] = set()
        self.child: Child | None = None
        self._links = links
        self._task_seconds = task_seconds
        self._pending: dict[str, _Pending] = {}
        self._book = RoundBook(on_round)
        self._on_publish = on_publish
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.TimerHandle | None = None

    # -- from the coordinator ----------------------------------------------------------------

    def handle(self, incoming: Incoming) -> None:
        """A message of the coordinator child; raising ends the child with that reason."""
        check_message(incoming, ("task", "publish", "frame", "ready"))
        try:
            match incoming.type:
                case "task":
                    self._task(incoming)
                case "publish":
                    self._publish(incoming)
                case "frame":
                    site = str(incoming.header.get("site"))
                    if self.online.get(site):
                        frame = notes.read_frame(incoming.note)
                        self._links.send_frame(site, frame, incoming.note)
        finally:
            incoming.release()

    def _task(self, incoming: Incoming) -> None:
        task = notes.read_task(incoming.note, None)
        if task.site not in self.online:
            raise InvalidMessage("the coordinator addressed a site outside its job", why=task.site)
        if task.id in self._pending or len(self._pending) >= _MOST_PENDING:
            raise InvalidMessage("the coordinator reused a task id or has too many tasks")
        if incoming.model is not None:
            incoming.model.check()
        self._book.sent(
            task, len(incoming.note) + (len(incoming.model.view) if incoming.model else 0)
        )
        self._cancel_idle()
        seconds = self._seconds(incoming.header.get("deadline"))
        timer = self._loop.call_later(seconds, self._late, task.id, seconds)
        self._pending[task.id] = _Pending(task, timer)
        if not self.online[task.site]:
            self.fail_task(task.id, Failure.UNAVAILABLE, f"site {task.site} is not there")
            return
        try:
            self._links.send_task(task, incoming.note, incoming.model)
        except FedgateError as error:
            self.fail_task(task.id, Failure.UNAVAILABLE, str(error))

    def _seconds(self, wanted: object) -> float:
        if not isinstance(wanted, int | float) or math.isnan(wanted) or wanted < 0:
            return self._task_seconds
        return min(float(wanted), self._task_seconds)

    def _publish(self, incoming: Incoming) -> None:
        number, metrics = incoming.header.get("round"), incoming.header.get("metrics")
        if type(number) is not int or not isinstance(metrics, dict):
            raise InvalidMessage("malformed publication from the coordinator")
        numbers = {str(k): float(v) for k, v in metrics.items() if isinstance(v, int | float)}
        before, model = self.published, incoming.model
        if model is not None:
            model.check()
            model.hold()
            if before is not None and before.model is not None:
                before.model.release()
        elif before is not None:
            model = before.model
        self.published = Published(model, number, numbers, frozenset(self.contributors))
        self._on_publish(self.published)

    # -- from the sites ----------------------------------------------------------------------

    def deliver(self, site: str, note: bytes, model: Carried, size: int) -> bool:
        """A site's result; returns False when nobody waits for it (it was late).

        A :class:`Buffer` must come from the coordinator child's pool. Raises
        :class:`InvalidMessage` when the site answers for another or its note does not parse, and
        :class:`InvalidModel` for bytes that are no model: a coordinator must never meet them.
        """
        result = notes.read_result(note, None)
        pending = self._pending.get(result.task)
        if result.site != site:
            raise InvalidMessage(f"site {site} sent a result in the name of {result.site}")
        if pending is None or self.child is None:
            return False
        if pending.task.site != site:
            raise InvalidMessage(f"site {site} answered a task of {pending.task.site}")
        _check_model(model)
        self._settle(result, note, model, size)
        return True

    def _settle(self, result: Result, note: bytes, model: Carried, size: int) -> None:
        pending = self._pending.pop(result.task)
        pending.timer.cancel()
        self._book.received(pending.task, result, size)
        if result.ok and pending.task.kind in (TaskKind.TRAIN, TaskKind.CUSTOM):
            self.contributors.add(result.site)
        if self._book.idle:
            self._cancel_idle()
            self._idle = self._loop.call_later(_ROUND_IDLE, self._book.close)
        if self.child is not None:
            self.child.send("result", note=note, model=model)

    def fail_task(self, task: str, failure: Failure, reason: str) -> None:
        pending = self._pending.get(task)
        if pending is None:
            return
        result = Result(task, pending.task.site, error=TaskError(failure, reason))
        self._settle(result, notes.result_note(result), None, 0)

    def _late(self, task: str, seconds: float) -> None:
        self.fail_task(task, Failure.TIMEOUT, f"no result within {seconds:g} s")

    def frame(self, site: str, frame: Frame) -> None:
        """Raises :class:`InvalidMessage` when the coordinator cannot follow: one site's flood."""
        if self.child is not None:
            if self.child.backlog >= _MOST_WAITING:
                raise InvalidMessage(f"site {site} sends frames faster than they can be read")
            self.child.send("frame", note=notes.frame_note(frame), site=site)

    def waits_for(self, task: str, site: str) -> bool:
        pending = self._pending.get(task)
        return pending is not None and pending.task.site == site

    # -- sites come and go -------------------------------------------------------------------

    def fail_site_tasks(self, site: str, reason: str) -> None:
        for task in [t for t, p in self._pending.items() if p.task.site == site]:
            self.fail_task(task, Failure.UNAVAILABLE, reason)

    def lose(self, site: str, reason: str, *, returning: bool = False) -> None:
        """The site is gone: its tasks fail now, and later ones fail at once until it is back.

        ``returning``: it is there and getting ready; if that comes to nothing it is lost again.
        """
        if not self.online.get(site) and (returning or site not in self._returning):
            return
        self.online[site] = False
        self._returning.discard(site)
        if returning:
            self._returning.add(site)
        if self.child is not None:
            state: dict[str, Any] = {"online": False, "reason": reason[:1000]}
            if returning:
                state["returning"] = True
            self.child.send("online", site=site, **state)
        self.fail_site_tasks(site, reason)

    def regain(self, site: str) -> None:
        if self.online.get(site) is False:
            self.online[site] = True
            self._returning.discard(site)
            if self.child is not None:
                self.child.send("online", site=site, online=True)

    def close(self) -> None:
        """The coordinator has ended: report the last round, forget what is pending."""
        self._cancel_idle()
        self._book.close()
        for pending in self._pending.values():
            pending.timer.cancel()
        self._pending.clear()

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def _check_model(model: Carried) -> None:
    if isinstance(model, Buffer):
        Model.parse(model.view)
    elif isinstance(model, Deferred):
        read_layout(model.header, model.size)
    elif model is not None:
        Model.parse(model)
