"""Job ids: short, and in the order of their making when sorted as text."""

from __future__ import annotations

import secrets
import threading
import time

#: Crockford's base 32 in lower case: its order as text is its order as numbers.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 12
_RANDOM_BITS = 19
#: 2025-01-01; 41 bits of milliseconds last until 2094.
_EPOCH_MS = 1_735_689_600_000

JOB_ID = r"^job-[0-9a-hjkmnp-tv-z]{12}$"

_lock = threading.Lock()
_last = 0


def new_job_id() -> str:
    """``job-`` and 12 digits: 41 bits of milliseconds, 19 random ones; rising in this process."""
    global _last
    with _lock:
        milliseconds = time.time_ns() // 1_000_000 - _EPOCH_MS
        fresh = (milliseconds << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        _last = fresh if fresh > _last else _last + 1
        return "job-" + _encode(_last)


def _encode(number: int) -> str:
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))
