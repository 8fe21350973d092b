"""Opaque traffic of a job, counted for each site, channel and direction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from fedgate.task import Frame

Direction = Literal["in", "out"]  # as seen from the site
#: Names come from job code: beyond this many, what is left is counted together.
_NAMES = 256
_OTHERS = "others"


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

    def rows(self) -> list[dict[str, Any]]:
        """For reports: one row for each site, name and direction, in a stable order."""
        return [
            {"site": site, "frame": name, "direction": direction, "frames": n, "bytes": size}
            for (site, name, direction), (n, size) in sorted(self.totals.items())
        ]
