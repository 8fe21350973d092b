"""FLARE's own server as a door: the FLARE API and ``nvflare job`` submit to a Fedgate gateway.

FLARE's admin protocol is what its server parent speaks, and nothing else does. So the parent runs
here, unmodified but for four things: it has no job runner, its jobs are handed to a gateway when
they are created, it accepts fewer commands, and it listens nowhere but where admins connect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from fedgate.side_door import DoorSettings, OpenDoor, SideDoor, Submitter


class FlareSideDoor(SideDoor):
    """Found by ``fedgate flare front-door``; nvflare is imported when it serves."""

    framework: ClassVar[str] = "flare"

    def serve(
        self,
        submitter: Submitter,
        settings: DoorSettings,
        *,
        ready: Callable[[OpenDoor], None],
        stop: threading.Event,
    ) -> None:
        from fedgate_flare.front_door.server import serve

        serve(submitter, settings, ready=ready, stop=stop)


__all__ = ["FlareSideDoor"]
