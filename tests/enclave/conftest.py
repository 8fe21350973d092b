"""A conductor whose coordinator is a recorder and whose clock stands still until it is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from fedgate.errors import FedgateError
from fedgate.task import Frame, Result, Round, Task
from fedgate_gateway.child import notes
from fedgate_gateway.child.host import Incoming
from fedgate_gateway.child.parts import Part, PartTable
from fedgate_gateway.child.wire import Message
from fedgate_gateway.enclave import conductor as module
from fedgate_gateway.enclave.conductor import Conductor


@dataclass
class Timer:
    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def call_later(self, seconds: float, call: Callable[..., None], *args: Any) -> Timer:
        self.timers.append(Timer(self.now + seconds, lambda: call(*args)))
        return self.timers[-1]

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while due := [t for t in self.timers if t.at <= self.now and not t.cancelled]:
            first = min(due, key=lambda t: t.at)
            first.cancelled = True
            first.call()
        self.timers = [t for t in self.timers if not t.cancelled]


class Recorder:
    """In place of the coordinator's process: what it would have got."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, Any, dict[str, Any]]] = []
        self.backlog = 0

    def send(self, kind: str, *, note: bytes = b"", model: Any = None, **fields: Any) -> None:
        self.sent.append((kind, note, model, fields))

    def results(self) -> list[Result]:
        return [notes.read_result(note, None) for kind, note, _, _ in self.sent if kind == "result"]

    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.sent]


class Stage:
    """A conductor of the sites a, b and c; tasks may take 100 seconds."""

    def __init__(self, *, resends: bool = False) -> None:
        self.clock = Clock()
        self.child = Recorder()
        self.rounds: list[Round] = []
        self.published: list[Any] = []
        self.tasks: list[Task] = []
        self.frames: list[tuple[str, Frame]] = []
        self.unreachable: set[str] = set()
        self.freed: list[int] = []
        self.parts = PartTable(self.freed.append, 1 << 30)
        self._numbers = itertools.count(1)
        self.ids: dict[str, str] = {}  # of the coordinator's tasks, as sites see them
        real, module.asyncio.get_running_loop = module.asyncio.get_running_loop, lambda: self.clock
        try:
            self.conductor = Conductor(
                ["a", "b", "c"], self, task_seconds=100, resends=resends,
                on_round=self.rounds.append, on_publish=self.published.append,
            )  # fmt: skip
        finally:
            module.asyncio.get_running_loop = real
        self.conductor.child = self.child  # type: ignore[assignment]

    # -- as the sites
    def send_task(self, task: Task, note: bytes, model: Part | None) -> None:
        if task.site in self.unreachable:
            raise FedgateError("no session")
        self.tasks.append(task)

    def send_frame(self, site: str, frame: Frame, note: bytes) -> None:
        self.frames.append((site, frame))

    # -- as the coordinator
    def part(self, data: bytes) -> Part:
        number = next(self._numbers)
        self.parts.add(Message({"t": "part", "k": number, "s": len(data)}, data))
        return self.parts.get(number)

    def say(self, kind: str, note: bytes = b"", model: Part | None = None, **fields: Any) -> None:
        held = None if model is None else model.hold()
        self.conductor.handle(Incoming({"t": kind, **fields}, note, held))

    def task(self, task: Task, model: Part | None = None, **fields: Any) -> None:
        self.ids.setdefault(task.id, f"t{self.conductor._next}")
        self.say("task", notes.task_note(task), model, **fields)

    # -- as a site
    def answer(self, site: str, result: Result, model: Any = None) -> bool:
        """``result.task`` as the coordinator calls it; a site knows the enclave's id only."""
        ours = replace(result, task=self.ids.get(result.task, "unknown"))
        return self.conductor.deliver(site, notes.result_note(ours), model, 10)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="session")
def new_stage() -> Callable[..., Stage]:
    return Stage
