from __future__ import annotations

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.cli.sse import Event, read_events


def test_events_have_id_kind_and_data():
    lines = ["retry: 2000", "", "id: 7", "event: state", 'data: {"state":"running"}', ""]
    assert list(read_events(lines)) == [Event(7, "state", {"state": "running"})]


def test_comments_and_unknown_fields_are_skipped():
    lines = [": still here", "", "x: y", "id: 1", "event: log", "data: {}", ""]
    assert list(read_events(lines)) == [Event(1, "log", {})]


def test_data_in_several_lines_is_joined():
    lines = ["id: 1", "event: a", 'data: {"x":', "data: 1}", ""]
    assert list(read_events(lines)) == [Event(1, "a", {"x": 1})]


def test_an_event_that_is_cut_off_is_dropped():
    assert list(read_events(["id: 1", "event: a", "data: {}"])) == []


@pytest.mark.parametrize(
    "lines",
    [
        ["data: {", ""],
        ["data: []", ""],
        ["data: " + "[" * 100_000, ""],
        ["id: x", ""],
        ["id: -1", ""],
        ["id: " + "9" * 20, ""],
        ["data: " + "x" * 300_000, ""],
        *[[f"data: {'x' * 200_000}"] * 8],
    ],
)
def test_what_no_gateway_sends_is_refused(lines):
    with pytest.raises(InvalidMessage):
        list(read_events(lines))
