"""Strict JSON: what a reviewer sees is what FLARE will load.

Duplicate names, NaN and absurd nesting are errors.
"""

from __future__ import annotations

import json
from typing import Any

from fedgate.errors import InvalidBundle

_MAX_DEPTH = 64


def parse_object(text: str, path: str) -> dict[str, Any]:
    """The JSON object in ``text``; raises :class:`InvalidBundle` naming ``path``."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except InvalidBundle as error:
        raise InvalidBundle(f"{path} is not acceptable JSON", why=error.what) from None
    except RecursionError:
        raise InvalidBundle(f"{path} is nested too deeply") from None
    except ValueError as error:
        raise InvalidBundle(f"{path} is not JSON", why=str(error)) from None
    if not isinstance(value, dict):
        raise InvalidBundle(f"{path} must hold a JSON object", why=f"got {type(value).__name__}")
    _check_depth(value, path)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidBundle("a name appears twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise InvalidBundle(f"the number {name} is not JSON")


def _check_depth(value: Any, path: str) -> None:
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise InvalidBundle(f"{path} is nested too deeply", why=f"more than {_MAX_DEPTH} levels")
