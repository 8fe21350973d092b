"""A watched job is what its events say, and no event can break the watching."""

from __future__ import annotations

import io

import pytest

from fedgate.job import JobState
from fedgate_gateway.cli.board import Board
from fedgate_gateway.cli.progress import JobProgress
from fedgate_gateway.cli.sse import Event


def job() -> JobProgress:
    shown = {"id": "job-1", "name": "digits", "framework": "flare", "sites": ["a", "b"]}
    return JobProgress.of(shown)


def round_event(number: int, **more) -> Event:
    data = {
        "round": number, "task": "train", "sites": ["a", "b"], "failed": {},
        "metrics": {"loss": 1.5}, "sent_bytes": 1000, "received_bytes": 2000, "seconds": 0.25,
    }  # fmt: skip
    return Event(number, "round", {**data, **more})


def test_rounds_add_up():
    watched = job()
    line = watched.apply(round_event(1))
    watched.apply(round_event(2, metrics={"loss": 0.5, "gone": None}))
    assert line == "round 1 train: 2 of 2 sites, 1.0 kB out, 2.0 kB in, 0.250 s, loss 1.5"
    assert (watched.round, watched.rounds) == (2, 2)
    assert (watched.sent_bytes, watched.received_bytes) == (2000, 4000)
    assert watched.metrics == {"loss": 0.5}


def test_a_failed_site_is_told_with_its_reason():
    line = job().apply(round_event(1, failed={"b": "workload: no data"}))
    assert "1 of 2 sites" in line
    assert line.endswith("; b failed: workload: no data")


def test_what_the_coordinator_computed_is_told_with_its_round():
    watched = job()
    assert watched.apply(Event(1, "metrics", {"round": 1, "metrics": {"auc": 0.75}})) == ""
    assert ", auc 0.75" in watched.apply(round_event(1))
    assert "auc" not in watched.apply(round_event(2))


def test_sites_come_and_go():
    watched = job()
    watched.apply(Event(1, "site-state", {"site": "a", "state": "ready"}))
    watched.apply(Event(2, "site-state", {"site": "b", "state": "ready"}))
    watched.apply(Event(3, "site-state", {"site": "b", "state": "lost", "reason": "no link"}))
    assert watched.ready == {"a"}
    assert watched.lost == {"b": "no link"}


def test_the_end_stops_its_clock():
    watched = job()
    assert watched.apply(Event(1, "state", {"state": "failed", "reason": "why"})) == "failed: why"
    assert watched.state is JobState.FAILED
    assert watched.ended is not None
    assert watched.seconds == watched.seconds


@pytest.mark.parametrize(
    "event",
    [
        Event(1, "state", {}),
        Event(1, "state", {"state": "dancing"}),
        Event(1, "round", {"round": "x"}),
        Event(1, "output", {"size": None}),
        Event(1, "metrics", {"metrics": 3}),
        Event(1, "_dict__", {}),
        Event(1, "something-new", {"a": 1}),
    ],
)
def test_an_event_that_is_not_understood_harms_nothing(event):
    watched = job()
    assert "Traceback" not in watched.apply(event)
    assert watched.state is JobState.SUBMITTED


def test_a_log_that_would_command_the_terminal_is_disarmed():
    assert "\x1b" not in job().apply(Event(1, "state", {"state": "failed", "reason": "\x1b[2J"}))


def test_a_refused_frame_is_told_at_once_with_the_line_that_would_allow_it():
    told = job().apply(
        Event(1, "frame-refused", {"site": "site-1", "frame": "aux_communication:noise"})
    )
    assert "site site-1 refused the frame aux_communication:noise" in told
    assert 'add "aux_communication:noise" to frames under [guard] in site.toml' in told
    made_up = job().apply(Event(1, "frame-refused", {"site": "site-1", "frame": "undeclared"}))
    assert "site site-1 refused a frame that nobody declared" in made_up
    assert "site.toml" not in made_up


def test_without_a_terminal_every_event_is_a_line():
    out = io.StringIO()
    watched = [job(), job()]
    board = Board(watched, out)
    with board.show():
        board.take(watched[0], Event(1, "state", {"state": "running"}))
        board.take(watched[0], Event(2, "log", {"text": "chatter"}))
    assert out.getvalue() == "job-1 running\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_a_table_of_all_jobs(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    out = Terminal()
    watched = [job()]
    board = Board(watched, out)
    with board.show():
        board.take(watched[0], Event(1, "state", {"state": "running"}))
        board.take(watched[0], round_event(4))
    shown = out.getvalue()
    for part in ("job-1", "digits", "running", "4 train", "1.0 kB / 2.0 kB", "loss 1.5"):
        assert part in shown
