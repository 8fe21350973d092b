"""HOCON as FLARE reads it (through pyhocon), except that it stays within its one file.

pyhocon would follow ``include`` to files, packages and URLs, and would fill ``${name}`` from the
environment of whatever process reads the file. Both are refused; references within the file work.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fedgate.errors import InvalidBundle

#: Its parser is slow; a configuration of a job has a few kilobytes.
_MAX_BYTES = 64 * 1024
#: References to references multiply what they stand for; none of FLARE's templates has any.
_MAX_REFERENCES = 16
#: Each is looked at up to the end of its line, and whatever may stand between it and a name.
_MAX_INCLUDES = 64
#: Nothing that it repeats can be read in two ways: it takes one step for each character.
_INCLUDE = re.compile(
    r"\binclude\b(?:[\s(]|//[^\n]*(?:\n|\Z)|\#[^\n]*(?:\n|\Z))*"
    r"(?:\"|'|required|url|file|package|classpath)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{([^}]*)\}")
#: Quotation marks in a row, as pyhocon tries each of them as the end of a text.
_QUOTES = re.compile(r'"{16}')


def read_hocon(text: str) -> Any:
    """Raises :class:`InvalidBundle`."""
    try:
        from pyhocon import ConfigFactory
        from pyhocon.config_tree import ConfigTree
    except ImportError:
        raise InvalidBundle(
            "HOCON cannot be read here",
            why="pyhocon is not installed",
            remedy="install fedgate[flare] where jobs are inspected, or submit JSON",
        ) from None
    if len(text) > _MAX_BYTES:
        raise InvalidBundle("too large for HOCON", why=f"more than {_MAX_BYTES} characters")
    _check_bounds(text)
    if _INCLUDE.search(text):
        raise InvalidBundle("'include' is not accepted", remedy="put everything into one file")
    try:
        tree = ConfigFactory.parse_string(text, resolve=True)
        if isinstance(tree, ConfigTree):
            _check_references(text, tree)
    except InvalidBundle:
        raise
    except Exception as error:  # pyparsing and pyhocon each have exceptions of their own
        raise InvalidBundle(
            "not acceptable HOCON", why=" ".join(str(error).split())[:300]
        ) from None
    return _plain(tree)


def _check_bounds(text: str) -> None:
    if text.count("${") > _MAX_REFERENCES:
        raise InvalidBundle(
            "too many references in HOCON", why=f"more than {_MAX_REFERENCES} times ${{…}}"
        )
    if text.lower().count("include") > _MAX_INCLUDES or _QUOTES.search(text):
        raise InvalidBundle(
            "not acceptable HOCON",
            why=f"'include' more than {_MAX_INCLUDES} times, or 16 quotation marks in a row",
        )


def _check_references(text: str, tree: Any) -> None:
    for name in {found.strip().removeprefix("?").strip() for found in _REFERENCE.findall(text)}:
        try:
            tree[name]
        except Exception:
            raise InvalidBundle(
                f"the reference ${{{name[:80]}}} has no value in this file",
                why="values do not come from the environment",
                remedy="write the value out",
            ) from None


def _plain(value: Any) -> Any:
    """Plain dictionaries, with FLARE's treatment of quoted names."""
    if isinstance(value, Mapping):
        return {str(key).strip('"'): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
