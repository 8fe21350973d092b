"""The coordinator's :class:`~fedgate.adapter.Federation`, inside the coordinator child."""

from __future__ import annotations

import functools
import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from fedgate.adapter import SiteInfo
from fedgate.errors import FedgateError, InvalidMessage
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError
from fedgate_gateway.child import notes
from fedgate_gateway.child.frames_in_hand import FramesInHand
from fedgate_gateway.child.port import Port


class ChildFederation:
    """Thread-safe; results arrive on the reader thread and wait here for their dispatch."""

    def __init__(self, port: Port, sites: Sequence[str]) -> None:
        self._port = port
        self._online = dict.fromkeys(sites, True)
        self._lost: dict[str, str] = {}  # site that is not online -> why
        self._returning: set[str] = set()  # of those, the ones that are getting ready again
        self._lock = threading.Lock()
        self._waiting: dict[str, queue.SimpleQueue[Result]] = {}
        self._frames = FramesInHand()
        self._on_frame: list[Callable[[str, Frame], None]] = []
        self._on_lost: list[Callable[[str, str], None]] = []
        self._callbacks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._gone = False
        self._dispatches = itertools.count(1)
        self.results = self.failures = 0
        threading.Thread(target=self._run_callbacks, name="callbacks", daemon=True).start()

    # -- what a coordinator calls ------------------------------------------------------------

    def sites(self) -> Sequence[SiteInfo]:
        with self._lock:
            return [
                SiteInfo(n, i, up, n in self._returning)
                for i, (n, up) in enumerate(self._online.items())
            ]

    def dispatch(
        self, tasks: Iterable[Task], *, deadline: float | None = None, ordered: bool = True
    ) -> Iterator[Result]:
        arrived: queue.SimpleQueue[Result] = queue.SimpleQueue()
        order: list[str] = []
        number = next(self._dispatches)
        for task in tasks:
            note = notes.task_note(task)
            self._register(task, arrived)
            order.append(task.id)
            try:
                self._port.send(
                    "task", note=note, model=task.model,
                    deadline=deadline, dispatch=number, batch=task.batch, step=task.step,
                )  # fmt: skip
            except FedgateError:
                self._waiting.pop(task.id, None)
                raise
            del task  # its model must not outlive the caller's interest
        return self._in_order(order, arrived) if ordered else self._as_they_come(order, arrived)

    def _next(self, arrived: queue.SimpleQueue[Result]) -> Result:
        result = arrived.get()
        self._frames.wait()  # what the site sent before it
        return result

    def _register(self, task: Task, arrived: queue.SimpleQueue[Result]) -> None:
        with self._lock:
            if task.site not in self._online:
                raise InvalidMessage(
                    f"no site {task.site!r} in this job", why=f"its sites: {list(self._online)}"
                )
            if task.id in self._waiting:
                raise InvalidMessage(f"task {task.id!r} is already under way")
            if self._gone:
                arrived.put(_cancelled(task.id, task.site))
            else:
                self._waiting[task.id] = arrived

    def _as_they_come(
        self, order: list[str], arrived: queue.SimpleQueue[Result]
    ) -> Iterator[Result]:
        for _ in order:
            yield self._next(arrived)

    def _in_order(self, order: list[str], arrived: queue.SimpleQueue[Result]) -> Iterator[Result]:
        early: dict[str, Result] = {}
        for task in order:
            while task not in early:
                result = self._next(arrived)
                early[result.task] = result
                del result
            yield early.pop(task)

    def publish(
        self, model: Model | None, *, round: int, metrics: Mapping[str, float] | None = None
    ) -> None:
        numbers = {str(k): float(v) for k, v in (metrics or {}).items()}
        self._port.send("publish", model=model, round=int(round), metrics=numbers)

    def end_step(self, step: str) -> None:
        self._port.send("end_step", step=step)

    def post(self, site: str, frame: Frame) -> None:
        self._port.send("frame", note=notes.frame_note(frame), site=site)

    def on_frame(self, callback: Callable[[str, Frame], None]) -> None:
        self._on_frame.append(callback)

    def on_site_lost(self, callback: Callable[[str, str], None]) -> None:
        with self._lock:
            self._on_lost.append(callback)
            gone = list(self._lost.items())
        for site, reason in gone:
            callback(site, reason)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    # -- what the reader thread calls --------------------------------------------------------

    def deliver(self, result: Result) -> None:
        with self._lock:
            arrived = self._waiting.pop(result.task, None)
            self.results += 1
            self.failures += not result.ok
        if arrived is not None:
            arrived.put(result)

    def deliver_frame(self, site: str, frame: Frame) -> None:
        def call(callback: Callable[[str, Frame], None]) -> None:
            try:
                callback(site, frame)
            finally:
                self._frames.handled()

        for callback in self._on_frame:
            self._frames.came()
            self._callbacks.put(functools.partial(call, callback))

    def set_online(
        self, site: str, online: bool, reason: str = "", *, returning: bool = False
    ) -> None:
        with self._lock:
            if site not in self._online:
                return
            self._online[site] = online
            self._lost.pop(site, None)
            self._returning.discard(site)
            if online:
                return
            if returning:
                self._returning.add(site)
            self._lost[site] = reason
            callbacks = list(self._on_lost)
        for callback in callbacks:
            self._callbacks.put(lambda c=callback: c(site, reason))  # type: ignore[misc]

    def cancel(self) -> None:
        """End every dispatch that waits; nothing new will be answered."""
        self._cancelled.set()
        with self._lock:
            self._gone = True
            waiting, self._waiting = self._waiting, {}
        for task, arrived in waiting.items():
            arrived.put(_cancelled(task, ""))

    def _run_callbacks(self) -> None:
        """Adapter callbacks run here, so that a slow one never stops results from arriving."""
        while True:
            callback = self._callbacks.get()
            try:
                callback()
            except Exception as error:
                print(f"fedgate: a callback of the adapter failed: {error!r}", flush=True)


def _cancelled(task: str, site: str) -> Result:
    return Result(task, site, error=TaskError(Failure.CANCELLED, "the job is being cancelled"))
