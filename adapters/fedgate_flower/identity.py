"""The numbers Flower knows jobs and sites by, derived so that they never change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_FIRST = 1 << 32  # far from 0 (unset) and 1 (flwr's SuperLink)
_LAST = (1 << 63) - 1  # flwr keeps ids in signed 64-bit columns


def run_id(job: str) -> int:
    """Flower's run id of a job."""
    return _number("run", job)


def series_id(series: str, job: str) -> int:
    """Flower's id of a run's series: a name that is a number is that number already, and a job
    that names none is alone in its own.
    """
    if series.isdecimal() and len(series) < 20 and 0 < int(series) <= _LAST:
        return int(series)
    return _number("series", series) if series else _number("series of", job)


def node_ids(job: str, sites: Sequence[str]) -> dict[str, int]:
    """Site name -> Flower's node id, in the order of ``sites``, all different."""
    ids: dict[str, int] = {}
    for site in sites:
        number = _number("node", job, site)
        while number in ids.values():
            number = number % _LAST + 1
        ids[site] = number
    return ids


def _number(*parts: str) -> int:
    text = "\0".join(("fedgate flower", *parts)).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
    return _FIRST + number % (_LAST - _FIRST)
