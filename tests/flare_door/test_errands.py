"""Jobs on their way, whatever the gateway says and whenever it can be reached."""

from __future__ import annotations

import threading

import pytest

from fedgate.errors import Conflict, Denied, InvalidTransition, NotFound, SealBroken, Unavailable
from fedgate.job import JobState
from fedgate_flare.front_door import errands as module


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
