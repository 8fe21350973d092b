"""What became of every task of a job, to tell success from a run that merely ended.

FLARE's workflows can return normally although no site answered, or stop early with a line in the
log. A job that did so is a failed job.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from fedgate.errors import WorkloadFailed
from fedgate.task import TaskKind


@dataclass
class _Entry:
    name: str
    kind: TaskKind
    round: int
    broadcast: bool
    workflow: str
    answered: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name!r}" + (f" of round {self.round}" if self.round else "")

    @property
    def reasons(self) -> str:
        return "; ".join(f"{site}: {reason}" for site, reason in sorted(self.failures.items()))


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

    def answered(self, key: str) -> None:
        with self._lock:
            self._entries[key].answered += 1

    def failed(self, key: str, site: str, reason: str) -> None:
        with self._lock:
            self._entries[key].failures[site] = reason

    def last_failure(self) -> str:
        """The latest failures, for the reason of a job that FLARE aborted."""
        with self._lock:
            failing = [e for e in self._entries.values() if e.failures]
            return f"{failing[-1]}: {failing[-1].reasons}" if failing else ""

    def require_success(self) -> None:
        """Raise :class:`WorkloadFailed` if a task was answered by nobody, or the run broke off."""
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            if entry.failures and not entry.answered and entry.kind is not TaskKind.QUERY:
                raise WorkloadFailed(
                    f"every site failed at {entry}",
                    why=entry.reasons,
                    remedy="see the sites' own logs",
                )
        for last in {e.workflow: e for e in entries}.values():
            # A relay passes a model from site to site; with one of them missing it breaks off.
            if last.failures and not last.broadcast:
                raise WorkloadFailed(f"the workflow broke off at {last}", why=last.reasons)
