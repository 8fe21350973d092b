"""What became of every task of a job, to tell success from a run that merely ended.

FLARE's workflows can return normally although no site answered, or stop early with a line in the
log. A job that did so is a failed job.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field

from fedgate.errors import WorkloadFailed
from fedgate.task import TaskKind

#: Seconds: a workflow that gives up ends the run at once.
_MARGIN = 0.05


@dataclass
class _Entry:
    name: str
    kind: TaskKind
    round: int
    broadcast: bool
    workflow: str
    answered: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    #: site -> when the workflow stops waiting for it, as FLARE's own clock says; what that means.
    due: dict[str, tuple[float, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name!r}" + (f" of round {self.round}" if self.round else "")

    def failures(self, beside: Collection[str] = ()) -> dict[str, str]:
        """Sites and why they gave no answer, those included that the workflow gave up."""
        now = time.time() + _MARGIN
        late = {
            s: why for s, (due, why) in self.due.items() if due <= now and s not in self.answered
        }
        return {s: why for s, why in sorted((late | self.failed).items()) if s not in beside}


def _listed(failures: dict[str, str]) -> str:
    return "; ".join(f"{site}: {reason}" for site, reason in failures.items())


class Ledger:
    """Thread-safe. A key stands for one task of a workflow, whatever number of sites got it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def opened(
        self, key: str, name: str, kind: TaskKind, round_: int, *, broadcast: bool, workflow: str
    ) -> None:
        with self._lock:
            self._entries.setdefault(key, _Entry(name, kind, round_, broadcast, workflow))

    def asked(self, key: str, site: str, due: float, otherwise: str) -> None:
        """The site has the task; the workflow waits until ``due`` (``time.time()``) for it."""
        with self._lock:
            self._entries[key].due[site] = (due, otherwise)

    def answered(self, key: str, site: str) -> None:
        with self._lock:
            self._entries[key].answered.add(site)
            self._entries[key].failed.pop(site, None)  # it came back, and did it after all

    def failed(self, key: str, site: str, reason: str) -> None:
        with self._lock:
            self._entries[key].failed[site] = reason

    def last_failure(self, beside: Collection[str] = ()) -> str:
        """The latest failures but of some sites, for the reason of a job that FLARE aborted."""
        with self._lock:
            for entry in reversed(self._entries.values()):
                if failures := entry.failures(beside):
                    return f"{entry}: {_listed(failures)}"
        return ""

    def require_success(self) -> None:
        """Raise :class:`WorkloadFailed` if a task was answered by nobody, or the run broke off."""
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            failures = entry.failures()
            if failures and not entry.answered and entry.kind is not TaskKind.QUERY:
                raise WorkloadFailed(
                    f"every site failed at {entry}",
                    why=_listed(failures),
                    remedy="the job's log has what they said, each site's own log the tracebacks",
                )
        for last in {e.workflow: e for e in entries}.values():
            # A relay passes a model from site to site; with one of them missing it breaks off.
            if not last.broadcast and (failures := last.failures()):
                raise WorkloadFailed(f"the workflow broke off at {last}", why=_listed(failures))
