"""Memory and CPU of processes while something runs, by role.

RSS counts shared pages once for each process, so a model in shared memory counts in parent and
child; PSS divides them. Both peaks are kept: RSS is what the targets are written in.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

#: (name of its root, the process) -> its role.
Role = Callable[[str, psutil.Process], str]


@dataclass
class Usage:
    #: Role -> the largest RSS that one process of it had, in bytes.
    rss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: Role -> the same in PSS, where the system tells.
    pss: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: (Unix time, role -> CPU seconds of all its processes so far), in the order of time.
    cpu: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    #: (Unix time, role -> RSS of its largest process then), in the order of time.
    rss_then: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    #: The largest sum of RSS over all processes.
    total: int = 0

    def rss_between(self, begin: float, end: float) -> dict[str, int]:
        """Peak RSS of each role's largest process between two Unix times."""
        found: dict[str, int] = defaultdict(int)
        for then, sizes in self.rss_then:
            if begin <= then <= end:
                for role, size in sizes.items():
                    found[role] = max(found[role], size)
        return dict(found)

    def cpu_between(self, begin: float, end: float) -> dict[str, float]:
        """CPU seconds of each role between two Unix times, as close as samples come."""
        if not self.cpu:
            return {}
        first = min(self.cpu, key=lambda sample: abs(sample[0] - begin))[1]
        last = min(self.cpu, key=lambda sample: abs(sample[0] - end))[1]
        return {role: spent - first.get(role, 0.0) for role, spent in last.items()}


class Watch:
    """Samples the processes below ``roots`` every ``every`` seconds until it is left."""

    def __init__(
        self, roots: Mapping[str, int], role: Role, *, every: float = 0.05, pss: bool = True
    ) -> None:
        self.usage = Usage()
        self._roots = dict(roots)
        self._role = role
        self._every = every
        self._pss = pss
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._known: dict[int, tuple[psutil.Process, str]] = {}
        self._spent: dict[int, float] = {}
        self._ticks = 0

    def __enter__(self) -> Usage:
        self._sample()
        self._thread.start()
        return self.usage

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self._sample()

    def _find(self) -> None:
        """Looking for new processes walks all of /proc: not at every tick."""
        for name, root in self._roots.items():
            with contextlib.suppress(psutil.Error):
                parent = psutil.Process(root)
                for process in (parent, *parent.children(recursive=True)):
                    known, _ = self._known.get(process.pid, (process, ""))
                    # asked again each time: between fork and exec it looks like its parent
                    self._known[process.pid] = (known, self._role(name, process))

    def _sample(self) -> None:
        if self._ticks % 5 == 0 or not self._known:
            self._find()
        total = 0
        now: dict[str, int] = defaultdict(int)
        for pid, (process, role) in list(self._known.items()):
            try:
                with process.oneshot():
                    rss = process.memory_info().rss
                    times = process.cpu_times()
            except psutil.Error:
                continue
            total += rss
            now[role] = max(now[role], rss)
            self._spent[pid] = times.user + times.system
            self.usage.rss[role] = max(self.usage.rss[role], rss)
            if self._pss and self._ticks % 10 == 0:
                with contextlib.suppress(psutil.Error, AttributeError):
                    pss = process.memory_full_info().pss
                    self.usage.pss[role] = max(self.usage.pss[role], pss)
        self.usage.total = max(self.usage.total, total)
        cpu: dict[str, float] = defaultdict(float)
        for pid, spent in self._spent.items():  # what ended stays counted
            cpu[self._known[pid][1]] += spent
        self.usage.rss_then.append((time.time(), dict(now)))
        self.usage.cpu.append((time.time(), dict(cpu)))
        self._ticks += 1
