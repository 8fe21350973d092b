"""A site by whose clock every request has expired, while a file ``late`` lies beside its
configuration; otherwise the real one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

from fedgate_gateway.cli.main import main
from fedgate_gateway.link import signed_job

LATE = Path(sys.argv[sys.argv.index("--config") + 1]).with_name("late")
_AHEAD = 60 * 86400  # no request is valid for longer than 30 days


def now() -> float:
    return time.time() + _AHEAD * LATE.exists()


signed_job.time = SimpleNamespace(time=now)  # type: ignore[assignment]

if __name__ == "__main__":
    main()
