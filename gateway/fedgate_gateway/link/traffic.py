"""Opaque traffic of a job, counted for each site, channel and direction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fedgate.refused_frames import UNDECLARED
from fedgate.task import Frame, frame_allowed
from fedgate_gateway.link.facts import FRAME_NAME

Direction = Literal["in", "out"]  # as seen from the site
#: Names come from job code: beyond this many, what is left is counted together.
_NAMES = 256
_OTHERS = "others"
_NAME = re.compile(FRAME_NAME)


def told_as(name: str, declared: Sequence[str]) -> str:
    """The frame's name in reports: as bundle or configuration ``declared`` it before anything ran.

    What job code names otherwise, or declares in other characters than names have, has none.
    """
    rules = (r for r in declared if frame_allowed(name, (r,)) and _NAME.fullmatch(r))
    return next(rules, UNDECLARED)


@dataclass
class Traffic:
    """``totals[site, "channel:topic", direction]`` is ``[frames, bytes]``."""

    totals: dict[tuple[str, str, Direction], list[int]] = field(default_factory=dict)

    def count(self, site: str, frame: Frame, direction: Direction) -> None:
        name = frame.name[:200]
        if (site, name, direction) not in self.totals and len(self.totals) >= _NAMES:
            name = _OTHERS
        total = self.totals.setdefault((site, name, direction), [0, 0])
        total[0] += 1
        total[1] += len(frame.body)

    def rows(self, declared: Sequence[str]) -> list[dict[str, Any]]:
        """For reports: one row for each site, frame and direction, in a stable order.

        Names come from job code: told are those that its bundle ``declared`` before it ran, as it
        did; all others are one.
        """
        totals: dict[tuple[str, str, Direction], list[int]] = {}
        for (site, name, direction), (n, size) in self.totals.items():
            frame = told_as(name, declared)
            total = totals.setdefault((site, frame, direction), [0, 0])
            total[0] += n
            total[1] += size
        return [
            {"site": site, "frame": frame, "direction": direction, "frames": n, "bytes": size}
            for (site, frame, direction), (n, size) in sorted(totals.items())
        ]
