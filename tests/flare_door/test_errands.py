"""Jobs on their way, whatever the gateway says and whenever it can be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from fedgate.errors import (
    Conflict,
    Denied,
    FedgateError,
    InvalidTransition,
    NotFound,
    SealBroken,
    Unavailable,
)
from fedgate.front_door import Order
from fedgate.job import Job, JobState
from fedgate.side_door import Happening, Released, SeenSite
from fedgate_flare.front_door import errands as module
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


def test_a_job_is_handed_in_followed_and_closed(errands, gateway, book, until):
    errands.hand_in("a", book)
    assert errands.active() == ["a"]
    gateway.say("job-1", JobState.RUNNING)
    gateway.say("job-1", JobState.SUCCEEDED)
    until(lambda: not errands.active())
    assert [what for _, *what in book.written] == [
        ["handed in", "job-1"], ["happened", "running"], ["happened", "succeeded"],
        ["ended", "succeeded"],
    ]  # fmt: skip


def test_a_refusal_is_told_to_whoever_waits_and_not_written_down(errands, gateway, book, until):
    gateway.fail("submit", Denied("no"))
    with pytest.raises(Denied):
        errands.hand_in("a", book)
    until(lambda: not errands.active())
    assert book.written == []


def test_a_gateway_that_cannot_be_reached_is_told_at_once(errands, gateway, book):
    gateway.fail("submit", Unavailable("gone"))
    with pytest.raises(Unavailable):
        errands.hand_in("a", book)
    assert gateway.calls == ["submit"]


def test_a_refusal_that_comes_late_is_written_down(errands, gateway, book, until, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    gateway.holding.clear()
    errands.hand_in("a", book)
    gateway.fail("submit", Denied("too late"))
    gateway.holding.set()
    until(lambda: book.written == [("a", "refused", "too late")])


def test_what_was_accepted_is_handed_in_as_soon_as_the_gateway_is_back(
    errands, gateway, book, until
):
    gateway.fail("submit", Unavailable("gone"), Unavailable("still gone"))
    errands.resume("a", "", book)
    until(lambda: ("a", "handed in", "job-1") in book.written)
    assert gateway.calls.count("submit") == 3


def test_a_resumed_job_that_is_refused_now_says_so(errands, gateway, book, until):
    gateway.fail("submit", Denied("not any more"))
    errands.resume("a", "", book)
    until(lambda: book.written == [("a", "refused", "not any more")])


def test_handing_in_twice_makes_one_job(errands, gateway, book, until):
    """The door was killed after the gateway took the job, and before it wrote that down."""
    gateway.submit(b"archive", None, name="a", key="flare-a")
    errands.resume("a", "", book)
    until(lambda: ("a", "handed in", "job-1") in book.written)
    assert list(gateway.jobs) == ["job-1"]


def test_a_broken_connection_loses_nothing_and_repeats_nothing(errands, gateway, book, until):
    errands.hand_in("a", book)
    until(lambda: gateway.calls.count("happenings") == 1)
    gateway.fail("look", Unavailable("gone"), Unavailable("gone"))
    gateway.say("job-1", JobState.SUCCEEDED)
    until(lambda: ("a", "ended", "succeeded") in book.written)
    assert book.written.count(("a", "happened", "succeeded")) == 1


def test_results_that_cannot_be_fetched_now_are_fetched_later(errands, gateway, book, until):
    book.ending = [Unavailable("the gateway restarts")]
    errands.hand_in("a", book)
    gateway.say("job-1", JobState.SUCCEEDED)
    until(lambda: ("a", "ended", "succeeded") in book.written)


def test_a_job_that_the_gateway_does_not_know_any_more_is_closed(errands, book, until):
    errands.resume("a", "job-7", book)
    until(lambda: book.written == [("a", "refused", "no such job")])


def test_cancelling_waits_until_it_is_written_down(errands, gateway, book):
    errands.hand_in("a", book)
    errands.cancel("a")
    assert book.written[-1] == ("a", "ended", "cancelled")


def test_a_job_that_has_ended_cannot_be_cancelled(errands, gateway, book, until):
    book.ending = [SealBroken("x")] * 1000  # keeps it under way
    errands.hand_in("a", book)
    gateway.say("job-1", JobState.SUCCEEDED)
    until(lambda: gateway.calls.count("look") > 0)
    with pytest.raises(InvalidTransition):
        errands.cancel("a")
    with pytest.raises(NotFound):
        errands.cancel("b")


def test_a_job_that_is_cancelled_while_it_is_handed_in_does_not_run(
    errands, gateway, book, until, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    gateway.holding.clear()
    errands.hand_in("a", book)
    gateway.fail("cancel", Unavailable("gone"))
    errands.cancel("a", seconds=0.01)
    gateway.holding.set()
    until(lambda: ("a", "ended", "cancelled") in book.written)
    assert gateway.calls.count("cancel") == 2


def test_a_job_that_is_cancelled_before_the_gateway_is_back_is_never_handed_in(
    errands, gateway, book, until, monkeypatch
):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.2)
    gateway.fail("submit", Unavailable("gone"))
    errands.resume("a", "", book)
    until(lambda: gateway.calls == ["submit"])
    errands.cancel("a")
    assert book.written == [("a", "aborted", "")]
    assert gateway.calls == ["submit"]


def test_jobs_under_way_are_bounded(errands, gateway, book, monkeypatch):
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    errands.hand_in("a", book)
    errands.hand_in("b", book)
    with pytest.raises(Conflict, match="too many jobs"):
        errands.hand_in("c", book)
    errands.resume("d", "job-1", book)  # what was accepted once is not given up


def test_a_door_that_stops_leaves_jobs_alone(errands, gateway, book, stop, until):
    errands.hand_in("a", book)
    stop.set()
    gateway.say("job-1", JobState.RUNNING)
    until(lambda: not errands.active())
    assert "cancel" not in gateway.calls
    assert threading.active_count() < 50
