"""Many site agents in one process: ordinary agents from ordinary files, sharing an event loop.

Only for measuring with more sites than a machine has room for processes; each still has a link, a
session and a worker child of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from fedgate_gateway.cli import allocator
from fedgate_gateway.config import SiteConfig, load_config
from fedgate_gateway.site.agent import SiteAgent


async def _serve(paths: list[str]) -> None:
    agents = [SiteAgent(load_config(SiteConfig, Path(path))) for path in paths]
    running = asyncio.gather(*(agent.run() for agent in agents))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    allocator.tune()
    asyncio.run(_serve(sys.argv[1:]))
