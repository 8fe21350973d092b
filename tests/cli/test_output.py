"""What is printed for people: aligned, complete, and harmless to a terminal."""

from __future__ import annotations

import pytest

from fedgate.errors import WorkloadFailed
from fedgate_gateway.cli import output
from fedgate_gateway.cli.failure import lines


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J\x1b[H", "\x1b]0;title\x07", "a\rb", "\x9b31m", "name\u202etxt.exe", "\x00", "\x7f"],
)
def test_what_a_stranger_wrote_cannot_move_the_cursor_or_reorder_text(hostile, capsys):
    output.table([{"name": hostile}], {"name": "NAME"})
    output.details([("name", hostile)])
    print("\n".join(lines(WorkloadFailed(hostile, why=hostile, remedy=hostile))))
    printed = capsys.readouterr().out
    for character in set(hostile) - set("ab[]0;title231mnametxt.exeJH"):
        assert character not in printed


def test_lines_and_tabs_of_a_log_stay():
    assert output.printable("a\n\tb") == "a\n\tb"


def test_columns_are_as_wide_as_their_widest_cell(capsys):
    rows = [{"a": "x", "b": ["s1", "s2"]}, {"a": "longer", "b": None}]
    output.table(rows, {"a": "A", "b": "B"})
    assert capsys.readouterr().out.splitlines() == ["A       B", "x       s1,s2", "longer  -"]


def test_empty_details_are_left_out(capsys):
    output.details([("name", "x"), ("reason", ""), ("sites", []), ("zero", 0)])
    assert capsys.readouterr().out.splitlines() == ["name  x", "zero  0"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000, "2.5 MB"), (3e12, "3.0 TB")],
)
def test_sizes_have_a_unit(count, text):
    assert output.size(count) == text
