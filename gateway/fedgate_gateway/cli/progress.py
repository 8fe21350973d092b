"""What is known of a running job from its events, and one line for each of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedgate.job import JobState
from fedgate.refused_frames import refused
from fedgate_gateway.cli.output import printable, size
from fedgate_gateway.cli.sse import Event


@dataclass
class JobProgress:
    """One job as it is watched; feed it events in their order."""

    job: str
    name: str = ""
    framework: str = ""
    sites: tuple[str, ...] = ()
    state: JobState = JobState.SUBMITTED
    reason: str = ""
    ready: set[str] = field(default_factory=set)
    lost: dict[str, str] = field(default_factory=dict)
    round: int = 0
    task: str = ""
    rounds: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    #: The last value of each metric, whatever round told it.
    metrics: dict[str, float] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    #: What the coordinator told since the last round ended; said together with that round.
    told: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> JobProgress:
        """From the API's view of a job."""
        return cls(
            str(job["id"]),
            name=printable(str(job["name"])),
            framework=str(job["framework"]),
            sites=tuple(job["sites"]),
        )

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    def apply(self, event: Event) -> str:
        """Take an event in; returns a line for people, or nothing where there is none to say."""
        takes = {
            "state": self._state,
            "site": self._site,
            "site-state": self._site,
            "frame-refused": self._frame_refused,
            "waiting": self._waiting,
            "round": self._round,
            "metrics": self._metrics,
            "output": self._output,
        }
        try:
            return takes[event.kind](event.data) if event.kind in takes else ""
        except (AttributeError, KeyError, TypeError, ValueError):
            return f"an event {event.kind!r} that this version does not understand"

    def _state(self, data: Mapping[str, Any]) -> str:
        self.state = JobState(data["state"])
        self.reason = printable(str(data.get("reason") or ""))
        if self.state.final:
            self.ended = time.monotonic()
        return f"{self.state}: {self.reason}" if self.reason else str(self.state)

    def _site(self, data: Mapping[str, Any]) -> str:
        site = printable(str(data.get("site", "")))
        reason = printable(str(data.get("reason") or ""))
        what = printable(str(data.get("state") or data.get("decision") or ""))
        if what == "ready":
            self.ready.add(site)
            self.lost.pop(site, None)
        elif what in ("restarting", "lost"):
            self.ready.discard(site)
            if what == "lost":
                self.lost[site] = reason
        return f"site {site} {what}" + (f": {reason}" if reason else "")

    def _waiting(self, data: Mapping[str, Any]) -> str:
        return f"waits for other jobs to end: {printable(str(data['reason']))}"

    def _frame_refused(self, data: Mapping[str, Any]) -> str:
        """With the line that its owner would write, and where."""
        self.reason = refused(printable(str(data["site"])), printable(str(data["frame"])))
        return self.reason

    def _round(self, data: Mapping[str, Any]) -> str:
        self.round, self.task = int(data["round"]), printable(str(data["task"]))
        self.rounds += 1
        self.sent_bytes += int(data["sent_bytes"])
        self.received_bytes += int(data["received_bytes"])
        numbers = {**self.told, **_numbers(data["metrics"])}
        self.told.clear()
        self.metrics.update(numbers)
        failed = {**(data.get("failed") or {}), **(data.get("unreached") or {})}
        ended = ", not finished" if data.get("abandoned") else ""
        asked = int(data.get("sites_total", len(data["sites"])))
        answered = int(data.get("answered_total", asked - len(failed)))
        line = (
            f"round {self.round} {self.task}{ended}: {answered} of "
            f"{asked} sites, {size(data['sent_bytes'])} out, "
            f"{size(data['received_bytes'])} in, {float(data['seconds']):.3f} s"
        )
        line += "".join(f", {name} {value:.4g}" for name, value in numbers.items())
        return line + "".join(f"; {printable(s)} failed: {printable(w)}" for s, w in failed.items())

    def _metrics(self, data: Mapping[str, Any]) -> str:
        numbers = _numbers(data["metrics"])
        self.metrics.update(numbers)
        self.told.update(numbers)
        return ""

    def _output(self, data: Mapping[str, Any]) -> str:
        name = printable(str(data["name"]))
        self.outputs.append(name)
        sealed = ", sealed" if data.get("sealed") else ""
        return f"released {name} ({size(data['size'])}{sealed})"


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What is a finite number; JSON has null for the others."""
    return {
        printable(str(name)): float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float)
    }
