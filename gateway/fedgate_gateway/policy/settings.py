"""Values of settings, as policies can compare them.

Cedar has no floating-point numbers and cannot look through a set, so each setting is a *tag* of one
entity: a record of ``text`` and of an interval ``low … high`` that holds the number. The interval
is a point where four decimals are enough, as wide as their rounding where they are not, and
everything where the value is no number or too large for Cedar. A rule that asks ``low`` for a
minimum and ``high`` for a maximum can then err only towards no.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

from fedgate.task import Scalar

#: The entity that ``context.settings`` names; there is one in each question.
SETTINGS: Final = {"type": "Settings", "id": "job"}
_LOWEST, _HIGHEST = Decimal("-922337203685477.5808"), Decimal("922337203685477.5807")
_STEP = Decimal("0.0001")


def settings_entity(settings: Mapping[str, Scalar]) -> dict[str, Any]:
    """In Cedar's JSON."""
    return {
        "uid": SETTINGS,
        "attrs": {},
        "parents": [],
        "tags": {name: _record(value) for name, value in settings.items()},
    }


def _record(value: Scalar) -> dict[str, Any]:
    low, high = _interval(value)
    return {"text": _text(value), "low": _decimal(low), "high": _decimal(high)}


def _text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _interval(value: Scalar) -> tuple[Decimal, Decimal]:
    if isinstance(value, bool | str):
        return _LOWEST, _HIGHEST
    # As it is written: 0.1 is a tenth, whatever bits stand for it.
    number = Decimal(repr(value))
    if not number.is_finite() or not _LOWEST <= number <= _HIGHEST:
        return _LOWEST, _HIGHEST
    return number.quantize(_STEP, ROUND_FLOOR), number.quantize(_STEP, ROUND_CEILING)


def _decimal(number: Decimal) -> dict[str, Any]:
    return {"__extn": {"fn": "decimal", "arg": f"{number:f}"}}
