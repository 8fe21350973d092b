"""A gateway in memory, for what the door does with whatever a gateway can say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from fedgate.errors import FedgateError, InvalidTransition, NotFound
from fedgate.front_door import Order
from fedgate.job import Job, JobState
from fedgate.side_door import Happening, Released, SeenSite
from fedgate_flare.front_door.errands import Errands

SECONDS = 10.0


class Gateway:
    """One job after another; ``say`` is what happens, ``fail`` what a call raises instead."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.keys: dict[str, str] = {}
        self.calls: list[str] = []
        self.failing: dict[str, list[FedgateError]] = {}
        self.holding = threading.Event()
        self.holding.set()
        self._said: dict[str, list[Happening]] = {}
        self._changed = threading.Condition()

    def fail(self, call: str, *errors: FedgateError) -> None:
        self.failing.setdefault(call, []).extend(errors)

    def say(self, job: str, state: JobState, reason: str = "") -> None:
        with self._changed:
            self.jobs[job] = replace(self.jobs[job], state=state, reason=reason)
            said = self._said[job]
            data = {"state": state.value, "reason": reason}
            said.append(Happening(len(said) + 1, "state", data, str(state)))
            self._changed.notify_all()

    def _called(self, call: str) -> None:
        self.calls.append(call)
        if self.failing.get(call):
            raise self.failing[call].pop(0)

    def submit(self, archive: bytes, order: Order, *, name: str, key: str) -> Job:
        assert self.holding.wait(SECONDS)
        self._called("submit")
        if key not in self.keys:
            job = f"job-{len(self.jobs) + 1}"
            self.keys[key] = job
            self._said[job] = []
            self.jobs[job] = Job(job, "demo", "sha256:0", "flare", name, "me", ("site-1",))
        return self.jobs[self.keys[key]]

    def look(self, job: str) -> Job:
        self._called("look")
        if job not in self.jobs:
            raise NotFound("no such job")
        return self.jobs[job]

    def cancel(self, job: str) -> Job:
        self._called("cancel")
        if self.jobs[job].state.final:
            raise InvalidTransition("it has ended")
        self.say(job, JobState.CANCELLED)
        return self.jobs[job]

    def happenings(self, job: str, *, after: int = 0) -> Iterator[Happening]:
        self._called("happenings")
        if job not in self.jobs:
            raise NotFound("no such job")
        while True:
            with self._changed:
                assert self._changed.wait_for(partial(self._news, job, after), SECONDS)
                new = self._said[job][after:]
            if not new:
                return
            for happening in new:
                after = happening.id
                yield happening
                if JobState(str(happening.data["state"])).final:
                    return

    def _news(self, job: str, after: int) -> bool:
        return len(self._said[job]) > after or self.jobs[job].state.final

    def fetch(self, job: str, into: Path) -> Sequence[Released]:
        raise AssertionError

    def sites(self) -> Sequence[SeenSite]:
        return []


@dataclass
class Book:
    """What was written down of each errand, in order."""

    written: list[tuple[str, str, str]] = field(default_factory=list)
    ending: list[FedgateError] = field(default_factory=list)

    def bundle(self, name: str) -> tuple[bytes, str]:
        return b"archive", name

    def handed_in(self, name: str, job: Job) -> None:
        self.written.append((name, "handed in", job.id))

    def happened(self, name: str, happening: Happening) -> None:
        self.written.append((name, "happened", str(happening.data["state"])))

    def ended(self, name: str, job: Job) -> None:
        if self.ending:
            raise self.ending.pop(0)
        self.written.append((name, "ended", job.state.value))

    def refused(self, name: str, error: FedgateError) -> None:
        self.written.append((name, "refused", error.what))

    def aborted(self, name: str) -> None:
        self.written.append((name, "aborted", ""))


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def errands(gateway: Gateway, stop: threading.Event, quick: None) -> Errands:
    return Errands(gateway, Order(), stop)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are as short as a test wants them."""
    from fedgate_flare.front_door import errands

    monkeypatch.setattr(errands, "_FIRST_PAUSE", 0.01)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    def wait(condition: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(int(SECONDS * 100)):
            if condition():
                return
            pause.wait(0.01)
        raise AssertionError("it did not come true")

    return wait
