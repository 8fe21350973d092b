"""Names for the arrays inside a FLARE message, taken from where they stand in it.

``{"DXO": {"data": {"conv1": {"w": array}}}}`` gives ``conv1/w``. A wrong or missing name costs
nothing but its beauty: which array is which stands in the message itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

_DEPTH = 16
_LENGTH = 512
#: Where FLARE keeps the parameters of a DXO: the plain names that people know come after it.
_PLAIN = "DXO/data/"


def array_names(message: Any) -> dict[int, str]:
    """``id(array) -> name`` for every array that a walk through plain containers reaches."""
    found: dict[int, str] = {}
    _walk(message, "", found, 0)
    return found


def _walk(value: Any, path: str, found: dict[int, str], depth: int) -> None:
    if depth > _DEPTH:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _walk(inner, f"{path}/{key}" if path else str(key), found, depth + 1)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _walk(inner, f"{path}/{index}" if path else str(index), found, depth + 1)
    elif hasattr(value, "__array_interface__") or hasattr(value, "data_ptr"):
        found.setdefault(id(value), path)
    elif hasattr(value, "data_kind"):  # a DXO inside a collection
        _walk(value.data, path, found, depth + 1)
    elif hasattr(value, "params_type"):  # an FLModel
        _walk(value.params, path, found, depth + 1)


def unique(wanted: str | None, taken: Mapping[str, object]) -> str:
    """A tensor name close to ``wanted`` that is not taken yet."""
    name = (wanted or "array").removeprefix(_PLAIN)
    if len(name) > _LENGTH:
        name = name[: _LENGTH - 17] + "-" + hashlib.sha256(name.encode()).hexdigest()[:16]
    if name == "__metadata__" or not name:
        name = "array"
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
