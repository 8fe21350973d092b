"""Durations as people write them: 90s, 30m, 12h, 7d."""

from __future__ import annotations

import re

from fedgate.errors import InvalidMessage

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> int:
    """Whole seconds, at least one; raises :class:`InvalidMessage`."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not seconds:
        raise InvalidMessage(f"{text!r:.40} is no duration", remedy="write it as 90s, 12h or 7d")
    return seconds
