"""Configuration files of a job, read strictly: what a reviewer sees is what FLARE will load.

JSON, YAML and HOCON. None of the readers runs code, opens another file or looks into the
environment; a job on disk gets the result as JSON, so FLARE's own loaders decide nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from fedgate.errors import InvalidBundle

_MAX_DEPTH = 64
_MAX_BYTES = 1024 * 1024
#: Endings that FLARE gives a meaning to, in the order in which it searches for them.
ENDINGS = (".json", ".conf", ".yml", ".yaml")


def parse_config(text: str, path: str) -> dict[str, Any]:
    """The object that a file holds; raises :class:`InvalidBundle` naming ``path``."""
    if len(text) > _MAX_BYTES:
        raise InvalidBundle(f"{path} is too large", why=f"more than {_MAX_BYTES} characters")
    reader = _READERS.get(PurePosixPath(path).suffix)
    if reader is None:
        raise InvalidBundle(
            f"{path} has an unknown format", remedy="use one of: " + ", ".join(ENDINGS)
        )
    try:
        value = reader(text)
    except InvalidBundle as error:
        raise InvalidBundle(f"{path}: {error.what}", why=error.why, remedy=error.remedy) from None
    except RecursionError:
        raise InvalidBundle(f"{path} is nested too deeply") from None
    except Exception as error:  # whatever a reader's library makes of what it did not expect
        raise InvalidBundle(f"{path} cannot be read", why=repr(error)[:200]) from None
    if not isinstance(value, dict):
        raise InvalidBundle(
            f"{path} must hold an object", why=f"a JSON object, not {type(value).__name__}"
        )
    _check_depth(value, path)
    plain: dict[str, Any] = _plain(value, path)
    return plain


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise InvalidBundle("not JSON", why=str(error)) from None


def _yaml(text: str) -> Any:
    from fedgate_flare.yaml_text import read_yaml

    return read_yaml(text)


def _hocon(text: str) -> Any:
    from fedgate_flare.hocon_text import read_hocon

    return read_hocon(text)


_READERS: Mapping[str, Callable[[str], Any]] = {
    ".json": _json,
    ".conf": _hocon,
    ".yml": _yaml,
    ".yaml": _yaml,
}


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


def _plain(value: Any, path: str) -> Any:
    """Nothing but what JSON can say: YAML and HOCON also know dates, durations and infinity."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InvalidBundle(f"{path}: names must be texts", why=repr(key)[:80])
            if not _is_text(key):
                raise InvalidBundle(f"{path} holds half a character", why=ascii(key)[:80])
        return {key: _plain(inner, path) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, path) for inner in value]
    if value is None or type(value) in (bool, int) or (type(value) is str and _is_text(value)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidBundle(
        f"{path} holds a value that JSON cannot hold",
        why=ascii(value)[:80],
        remedy="put it in quotes if it is meant as a text",
    )


def _is_text(value: str) -> bool:
    """JSON can write halves of characters (surrogates), which no file or message can hold."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
