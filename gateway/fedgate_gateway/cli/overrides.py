"""``--config KEY=VALUE``: values as TOML writes them, and plain text where that is no TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable

from fedgate.task import Scalar


def parse_overrides(pairs: Iterable[str]) -> dict[str, Scalar]:
    """``["rounds=3", "name=abc"]`` -> ``{"rounds": 3, "name": "abc"}``.

    Raises ``click.UsageError``.
    """
    found: dict[str, Scalar] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip()
        if not equals or not key:
            import click

            raise click.UsageError(f"--config takes KEY=VALUE, not {pair!r}")
        found[key] = _value(text)
    return found


def _value(text: str) -> Scalar:
    try:
        ((_, value),) = tomllib.loads(f"value = {text}").items()
    except (tomllib.TOMLDecodeError, ValueError):
        return text  # no TOML, or more than one value
    return value if isinstance(value, bool | int | float | str) else text
