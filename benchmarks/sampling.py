"""Memory and CPU of processes while something runs, by role.

RSS counts shared pages once for each process, so a model in shared memory counts in parent and
child; PSS divides them. Both peaks are kept: RSS is what the targets are written in.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psutil

#: A process -> its role, or None if it is not of interest.
Role = Callable[[psutil.Process], str | None]


@dataclass
class Usage:
    #: Role -> the largest RSS that one process of it had, in bytes.
    rss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: Role -> the same in PSS, where the system tells.
    pss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: Role -> CPU seconds (user and system) of all its processes, while watched.
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: The largest sum of RSS over all processes.
    total: int = 0


class Watch:
    """Samples the processes below ``roots`` every ``every`` seconds until it is left."""

    def __init__(
        self, roots: Iterable[int], role: Role, *, every: float = 0.05, pss: bool = True
    ) -> None:
        self.usage = Usage()
        self._roots = list(roots)
        self._role = role
        self._every = every
        self._pss = pss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._known: dict[int, tuple[psutil.Process, str]] = {}
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._ticks = 0

    def __enter__(self) -> Usage:
        self._sample()
        self._thread.start()
        return self.usage

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        for pid, (_, role) in self._known.items():
            if pid in self._last:  # some end before they are seen a first time
                self.usage.cpu[role] += self._last[pid] - self._first[pid]

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._sample()

    def _find(self) -> None:
        """Looking for new processes walks all of /proc: not at every tick."""
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(root)
                for process in (parent, *parent.children(recursive=True)):
                    if process.pid in self._known:
                        continue
                    role = self._role(process)
                    if role is not None:
                        self._known[process.pid] = (process, role)

    def _sample(self) -> None:
        if self._ticks % 5 == 0 or not self._known:
            self._find()
        total = 0
        for pid, (process, role) in list(self._known.items()):
            try:
                with process.oneshot():
                    rss = process.memory_info().rss
                    times = process.cpu_times()
            except psutil.Error:
                continue
            total += rss
            spent = times.user + times.system
            # a process born while we watch is charged from its beginning
            self._first.setdefault(pid, spent if self._ticks == 0 else 0.0)
            self._last[pid] = spent
            self.usage.rss[role] = max(self.usage.rss[role], rss)
            if self._pss and self._ticks % 10 == 0:
                with contextlib.suppress(psutil.Error, AttributeError):
                    pss = process.memory_full_info().pss
                    self.usage.pss[role] = max(self.usage.pss[role], pss)
        self.usage.total = max(self.usage.total, total)
        self._ticks += 1
