"""Between a coordinator child and the sites: every task gets exactly one result, in time.

Knows nothing of networks or keys: sites are reached through :class:`Sites`, which the enclave
host implements with sealed sessions and a local run with plain child processes.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Model, read_layout
from fedgate.task import Failure, Frame, Result, Round, Task, TaskError
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Child, Incoming, check_message
from fedgate_gateway.child.memory import Buffer
from fedgate_gateway.child.parts import Part
from fedgate_gateway.child.serving import Deferred
from fedgate_gateway.enclave.cohort import Cohorts
from fedgate_gateway.enclave.round_tracker import RoundTracker, group_of

_MOST_PENDING = 10_000
#: Messages a coordinator may be behind with before a site's next frame counts as a flood.
_MOST_WAITING = 5_000
#: What a coordinator may publish beside a model: numbers, and bytes of their names as JSON.
_MOST_METRICS, _METRIC_BYTES = 1000, 32 * 1024
#: A batch's or step's name.
_NAME_CHARS = 255


Carried = bytes | memoryview | Buffer | Deferred | None


class Sites(Protocol):
    """How a conductor reaches the sites of its job."""

    def send_task(self, task: Task, note: bytes, model: Part | None) -> None:
        """Send; ``model`` stays valid only while it is held."""

    def send_frame(self, site: str, frame: Frame, note: bytes) -> None: ...


@dataclass
class _Pending:
    task: Task  # without its model; its id is the coordinator's
    timer: asyncio.TimerHandle
    seconds: float
    group: Hashable  # of the tasks of its round
    step: str
    counted: bool = False  # as a task of its round
    #: Kept until there is a result, where sites are waited for.
    note: bytes = b""
    model: Part | None = None
    sent: bool = False  # in the site's session of now


@dataclass
class Published:
    """The model that would be released if the job ended now."""

    model: Part | None
    #: The enclave's own number of its round; 0 where there was none.
    round: int
    metrics: Mapping[str, float]
    #: Sites that stand behind the model: those of the smallest batch that it can hold.
    cohort: frozenset[str]


class Conductor:
    """One running coordinator. All methods run on the event loop.

    A coordinator chooses the ids of its tasks and the numbers of its rounds; neither leaves.
    Sites, and whoever carries letters to them, see ids of ours: t1, t2, ...
    """

    def __init__(
        self,
        sites: Sequence[str],
        links: Sites,
        *,
        task_seconds: float,
        resends: bool = False,
        on_round: Callable[[Round], None],
        on_publish: Callable[[Published], None] = lambda _published: None,
    ) -> None:
        """``resends``: keep what a task is sent with, for :meth:`wait_for`."""
        self.online = dict.fromkeys(sites, True)
        self._away: set[str] = set()  # waited for: to the coordinator they are there
        self._resends = resends
        self._returning: set[str] = set()
        self.published: Published | None = None
        self.cohorts = Cohorts()
        self.child: Child | None = None
        self._links = links
        self._task_seconds = task_seconds
        self._pending: dict[str, _Pending] = {}  # by our id
        self._under_way: set[str] = set()  # the coordinator's ids of the same tasks
        self._next = 1
        self._on_publish = on_publish
        self._loop = asyncio.get_running_loop()
        self.rounds = RoundTracker(on_round, self._loop.time)
        self._closed = False

    # -- from the coordinator ----------------------------------------------------------------

    def handle(self, incoming: Incoming) -> None:
        """A message of the coordinator child; raising ends the child with that reason.

        After :meth:`close` nothing that it says has any effect.
        """
        check_message(incoming, ("task", "publish", "end_step", "frame", "ready"))
        try:
            if self._closed:
                return
            match incoming.type:
                case "task":
                    self._task(incoming)
                case "publish":
                    self._publish(incoming)
                case "end_step":
                    self.rounds.end_step(_name(incoming.header, "step"))
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
        if task.id in self._under_way or len(self._pending) >= _MOST_PENDING:
            raise InvalidMessage("the coordinator reused a task id or has too many tasks")
        batch, dispatch = _name(incoming.header, "batch"), _dispatch(incoming.header)
        step = _name(incoming.header, "step")
        if incoming.model is not None:
            incoming.model.check()
        key, self._next = f"t{self._next}", self._next + 1
        seconds = self._seconds(incoming.header.get("deadline"))
        timer = self._loop.call_later(seconds, self._late, key, seconds)
        group = group_of(task, step=step, batch=batch, dispatch=dispatch)
        pending = self._pending[key] = _Pending(task, timer, seconds, group, step)
        self._under_way.add(task.id)
        absent = [s for s, there in self.online.items() if not there]
        self.cohorts.sent(key, task, batch=batch, dispatch=dispatch, absent=absent)
        if not self.online[task.site]:
            self.fail_task(key, Failure.UNAVAILABLE, f"site {task.site} is not there")
            return
        note = notes.task_note(replace(task, id=key))
        if self._resends:
            pending.note, pending.model = note, incoming.model
            if incoming.model is not None:
                incoming.model.hold()
        if task.site in self._away:
            timer.cancel()
        else:
            self._send(key, pending, note, incoming.model)

    def _send(self, key: str, pending: _Pending, note: bytes, model: Part | None) -> None:
        task = pending.task
        try:
            self._links.send_task(replace(task, id=key), note, model)
        except FedgateError as error:
            self.fail_task(key, Failure.UNAVAILABLE, str(error))
        if key not in self._pending:
            return
        pending.sent = True
        if not pending.counted:
            pending.counted = True
            size = len(note) + (len(model.view) if model else 0)
            self.rounds.sent(key, task, size, pending.group, pending.step)

    def _seconds(self, wanted: object) -> float:
        if not isinstance(wanted, int | float) or math.isnan(wanted) or wanted < 0:
            return self._task_seconds
        return min(float(wanted), self._task_seconds)

    def _publish(self, incoming: Incoming) -> None:
        number, metrics = incoming.header.get("round"), incoming.header.get("metrics")
        if type(number) is not int or not isinstance(metrics, dict):
            raise InvalidMessage("malformed publication from the coordinator")
        if not 0 <= number <= notes.MAX_ROUND:
            raise InvalidMessage(
                "the coordinator published a round of an impossible number",
                why=f"rounds are from 0 to {notes.MAX_ROUND}",
            )
        numbers = _numbers(metrics)
        before, model = self.published, incoming.model
        if model is not None:
            model.check()
            model.hold()
            if before is not None and before.model is not None:
                before.model.release()
        elif before is not None:
            model = before.model
        if incoming.model is not None:
            cohort = self.cohorts.of_model()
        else:
            cohort = frozenset() if before is None else before.cohort
        self.published = Published(model, self.rounds.number_of(number), numbers, cohort)
        self.rounds.published()
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
            self.rounds.late(result.task, size)
            return False
        if pending.task.site != site:
            raise InvalidMessage(f"site {site} answered a task of {pending.task.site}")
        _check_model(model)
        self._settle(result, model, size)
        return True

    def _settle(self, result: Result, model: Carried, size: int) -> None:
        key = result.task
        pending = self._pending.pop(key)
        pending.timer.cancel()
        self._under_way.discard(pending.task.id)
        if result.ok:
            self.cohorts.delivered(key, arrays=model is not None)
        else:
            self.cohorts.given_up(key)
        if pending.model is not None:
            pending.model.release()
        if pending.counted:
            self.rounds.settled(key, result, size)
        elif result.error is not None:
            self.rounds.unreached(pending.task, result.error.failure, pending.group)
        if self.child is not None:
            note = notes.result_note(replace(result, task=pending.task.id))
            self.child.send("result", note=note, model=model)

    def fail_task(self, task: str, failure: Failure, reason: str) -> None:
        """``task``: our id."""
        pending = self._pending.get(task)
        if pending is None:
            return
        self._settle(Result(task, pending.task.site, error=TaskError(failure, reason)), None, 0)

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
        for task in self._of(site):
            self.fail_task(task, Failure.UNAVAILABLE, reason)

    def lose(self, site: str, reason: str, *, returning: bool = False) -> None:
        """The site is gone: its tasks fail now, and later ones fail at once until it is back.

        ``returning``: it is there and getting ready; if that comes to nothing it is lost again.
        """
        if site in self._away and returning:  # a new session: what was sent in the old is lost
            for pending in self._of(site).values():
                pending.sent = False
            return
        self._away.discard(site)
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

    def wait_for(self, site: str) -> None:
        """The site is gone and waited for: its tasks stay, and stand still, until it is back."""
        if self.online.get(site):
            self._away.add(site)
            for pending in self._of(site).values():
                pending.timer.cancel()

    @property
    def away(self) -> tuple[str, ...]:
        return tuple(self._away)

    def _of(self, site: str) -> dict[str, _Pending]:
        return {key: p for key, p in self._pending.items() if p.task.site == site}

    def _resume(self, site: str) -> None:
        self._away.discard(site)
        for key, pending in self._of(site).items():
            seconds = pending.seconds
            pending.timer = self._loop.call_later(seconds, self._late, key, seconds)
            if not pending.sent:
                self._send(key, pending, pending.note, pending.model)

    def regain(self, site: str) -> None:
        if site in self._away:
            self._resume(site)
        if self.online.get(site) is False:
            self.online[site] = True
            self._returning.discard(site)
            if self.child is not None:
                self.child.send("online", site=site, online=True)

    def close(self) -> None:
        """The job is over: report what is open, forget what is pending, take nothing more."""
        self._closed = True
        self.rounds.close()
        for pending in self._pending.values():
            pending.timer.cancel()
            if pending.model is not None:
                pending.model.release()
        self._pending.clear()
        self._under_way.clear()


def _numbers(metrics: Mapping[object, object]) -> dict[str, float]:
    """What a coordinator says of a round in numbers; raises :class:`InvalidMessage`."""
    names = [str(name) for name in metrics]
    if len(names) > _MOST_METRICS or len(json.dumps(names)) > _METRIC_BYTES:
        raise InvalidMessage(
            "the coordinator published too many metrics",
            why=f"at most {_MOST_METRICS}, whose names take {_METRIC_BYTES} bytes",
            remedy="publish fewer of them, under shorter names",
        )
    try:
        return {str(k): float(v) for k, v in metrics.items() if isinstance(v, int | float)}
    except OverflowError as error:
        raise InvalidMessage("the coordinator published no number", why=str(error)) from error


def _name(header: Mapping[str, object], of: str) -> str:
    """The batch or step of a task, empty where it has none; raises :class:`InvalidMessage`."""
    name = header.get(of, "")
    if not isinstance(name, str) or len(name) > _NAME_CHARS:
        raise InvalidMessage(f"the coordinator's task has a malformed {of}")
    return name


def _dispatch(header: Mapping[str, object]) -> int | None:
    number = header.get("dispatch")
    if number is not None and (type(number) is bool or not isinstance(number, int)):
        raise InvalidMessage("the coordinator's task has a malformed dispatch")
    return number


def _check_model(model: Carried) -> None:
    if isinstance(model, Buffer):
        Model.parse(model.view)
    elif isinstance(model, Deferred):
        read_layout(model.header, model.size)
    elif model is not None:
        Model.parse(model)
