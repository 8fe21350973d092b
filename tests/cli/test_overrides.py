from __future__ import annotations

import click
import pytest

from fedgate_gateway.cli.overrides import parse_overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("rounds=3", 3),
        ("rate=0.5", 0.5),
        ("shuffle=true", True),
        ('name="a b"', "a b"),
        ("name=plain words", "plain words"),
        ("path=/data/x=1", "/data/x=1"),
        ("list=[1]", "[1]"),
        ("when=2024-01-01", "2024-01-01"),
        ("empty=", ""),
        ("two=1\nlines=2", "1\nlines=2"),
    ],
)
def test_values_are_read_as_toml_and_else_taken_as_text(text, value):
    (found,) = parse_overrides([text]).values()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["rounds", "=3", ""])
def test_what_is_no_pair_is_wrong_usage(text):
    with pytest.raises(click.UsageError, match="KEY=VALUE"):
        parse_overrides([text])
