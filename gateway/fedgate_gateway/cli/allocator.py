"""glibc's allocator, set for programs that move large messages.

By default every allocation above 128 kB is a fresh mapping: the kernel clears its pages and takes
them back at once. Keeping such blocks in the heap doubled gRPC's throughput (and halved CPU
seconds per GB) in our measurements; see docs of ``mallopt(3)`` for the parameters. Where there is
no glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_TRIM_BYTES = 256 << 20
_PAD_BYTES = 4 << 20


def tune() -> bool:
    """Call before anything large is allocated; returns whether the allocator could be set."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    settings = (
        # One heap: gRPC frees on other threads than it allocates on, and a heap for each thread
        # kept 60 MB more in the gateway.
        (_M_ARENA_MAX, 1),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, _TRIM_BYTES),
        (_M_TOP_PAD, _PAD_BYTES),
    )
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
