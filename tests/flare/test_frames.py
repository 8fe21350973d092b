"""Federated events are opaque: dropped unless allowed, and a job survives either."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.e2e
EVENTS = "aux_communication:fed.event"


def test_an_event_that_may_not_leave_does_not_break_the_job(run: Callable):
    done = run("events")
    assert done.error is None
    assert set(done.refused_frames) == {f"site-1 {EVENTS}", f"site-2 {EVENTS}"}
    assert not (done.artifacts / "events.txt").exists()


def test_an_allowed_event_arrives_under_the_name_of_its_true_sender(run: Callable):
    done = run("events", frames=(EVENTS,))
    assert done.error is None
    lines = (done.artifacts / "events.txt").read_text().split()
    assert sorted(lines) == ["site-1", "site-1", "site-2", "site-2"]
