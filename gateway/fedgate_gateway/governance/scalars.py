"""Settings in canonical JSON, exactly: RFC 8785 writes 5 and 5.0 alike, and they are not the same.

Text and true/false stand as they are; whole numbers as ``{"int": "5"}`` and floating-point numbers
as ``{"float": "5.0"}``, the shortest decimal that reads back to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import rfc8785

from fedgate.errors import InvalidMessage
from fedgate.task import Scalar

#: Whole numbers are those of a signed 64-bit integer, as in TOML.
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1
_DIGITS = 32


def write_scalar(value: Scalar) -> Any:
    """Raises :class:`InvalidMessage` for NaN, infinities, integers over 64 bits, other types."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and _SMALLEST <= value <= _LARGEST:
        return {"int": str(value)}
    if isinstance(value, float) and math.isfinite(value):
        return {"float": repr(float(value))}
    raise InvalidMessage("not a setting's value", why=f"{value!r:.80}")


def read_scalar(value: Any) -> Scalar:
    """The inverse; raises :class:`InvalidMessage` for any other way to write it."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        kind, text = next(iter(value.items()))
        if kind in ("int", "float") and isinstance(text, str) and len(text) <= _DIGITS:
            try:
                number = int(text) if kind == "int" else float(text)
            except ValueError:
                number = math.nan
            if number == number and write_scalar(number) == value:  # noqa: PLR0124 - not NaN
                return number
    raise InvalidMessage("not a setting's value", why=f"{value!r:.80}")


def write_config(config: Mapping[str, Scalar]) -> dict[str, Any]:
    return {key: write_scalar(value) for key, value in config.items()}


def same_config(one: Mapping[str, Scalar], other: Mapping[str, Scalar]) -> bool:
    """Are they equal to the type and the bit?"""
    return rfc8785.dumps(write_config(one)) == rfc8785.dumps(write_config(other))
