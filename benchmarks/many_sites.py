"""Many site agents in one process: ordinary agents from ordinary files, sharing an event loop.

Only for measuring with more sites than a machine has room for processes; each still has a link, a
session and a worker child of its own. They give memory back at once instead of keeping it for the
next round, since here the idle ones would take it from the busy ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from fedgate_gateway.child import host, memory
from fedgate_gateway.cli import allocator
from fedgate_gateway.config import SiteConfig, load_config
from fedgate_gateway.site.agent import SiteAgent


async def _serve(paths: list[str]) -> None:
    agents = [SiteAgent(load_config(SiteConfig, Path(path))) for path in paths]
    running = asyncio.gather(*(agent.run() for agent in agents))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _keep_nothing() -> None:
    memory._KEEP = 0
    host._LARGE_BLOCKS["worker"] = {"MALLOC_MMAP_THRESHOLD_": "1048576"}


if __name__ == "__main__":
    allocator.tune()
    _keep_nothing()
    asyncio.run(_serve(sys.argv[1:]))
