"""Numbers that a job tells of its rounds: all of them for the submitter, some for everybody."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from fedgate_gateway.config import Release

#: Bytes of all that is kept for the submitter.
_MOST = 8 << 20


class JobMetrics:
    """Names and values are a workload's to choose. In clear go values under the names that the
    project file declares, and of the others how many there were.
    """

    def __init__(self, rules: Release) -> None:
        self._declared = frozenset(rules.metric_names) if rules.metrics == "clear" else frozenset()
        self._least = rules.minimum("metrics")
        self._lines = bytearray()
        self._left_out = 0

    def of_enough(
        self, metrics: Mapping[str, float], sites: Mapping[str, int]
    ) -> tuple[dict[str, float], int]:
        """Those that enough ``sites`` stand behind, and how many that leaves out."""
        kept = {n: v for n, v in metrics.items() if sites.get(n, 0) >= self._least}
        return kept, len(metrics) - len(kept)

    def clear(self, metrics: Mapping[str, float]) -> tuple[dict[str, float | None], int]:
        """What everybody may see, and how many values that leaves out.

        JSON has no NaN or infinity: None.
        """
        told = {
            name: value if math.isfinite(value) else None
            for name, value in metrics.items()
            if name in self._declared
        }
        return told, len(metrics) - len(told)

    def keep(self, number: int, of: str, metrics: Mapping[str, float]) -> None:
        """``of`` is a kind of task, or "published"."""
        if not metrics:
            return
        told = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        line = json.dumps({"round": number, "of": of, "metrics": told}).encode() + b"\n"
        if len(self._lines) + len(line) <= _MOST:
            self._lines += line
        else:
            self._left_out += 1

    def lines(self) -> bytes:
        """JSON lines, for the submitter; the last says how many are missing, if any are."""
        end = b'{"left_out": %d}\n' % self._left_out if self._left_out else b""
        return bytes(self._lines) + end
