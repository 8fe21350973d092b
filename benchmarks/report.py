"""One table, and what explains it, as text for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks import sites
from benchmarks.work import Run, Work

MB = 1_000_000
#: Work -> ours must take at most this fraction of native's time for a round.
TARGETS = {
    "flower-small": 1 / 100,
    "flower-large": 1 / 8,
    "flare-small": 1 / 10,
    "flare-large": 1 / 2,
}
#: Framework -> what the enclave's memory with the most sites may be, given that with the fewest.
SITES_TARGETS: Mapping[str, tuple[str, Callable[[int], float]]] = {
    "flower": ("150 MB more", lambda few: few + 150 * MB),
    "flare": ("1.5 times as much", lambda few: few * 1.5),
}
COORDINATOR_BYTES = 800 * MB
GATEWAY_BYTES = 200 * MB
_HOW = """\
Native Flower runs without TLS, native FLARE with mTLS; ours with mTLS, sealed transport, and policy
and audit on. Times are medians over the rounds of one job, measured by the workload itself, the
same code on both sides. Memory is the peak RSS of one process; pages that processes share count in
each."""
_PHASES = """\
From runs of their own, with functions timed inside every process, and the first round left out.
Seconds are sums over all processes of that kind: they overlap, above all with the transfers."""
_MANY_SITES = """\
One process runs the agents of all sites, each with a link, a session and a worker process of its
own; gateway, enclave host and coordinator are as always. Memory is the peak during the job."""
_DETAILS = [
    "work", "side", "rounds, s", "job, s", "coordinator, MB", "server or enclave, MB",
    "site, MB", "worker, MB", "gateway, MB", "all, MB", "same weights",
]  # fmt: skip


@dataclass
class Measured:
    work: Work
    native: Run | None = None
    ours: Run | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


@dataclass
class Report:
    machine: Mapping[str, str]
    works: list[Measured]
    floor: Mapping[str, float]
    floor_bytes: int
    #: The same work on more and more sites, by framework.
    sites: Sequence[sites.Measured] = ()
    #: Measurements of these that there are not, and why.
    sites_failed: Sequence[str] = ()

    def markdown(self) -> str:
        parts = [
            "# Benchmark",
            _table(["", ""], [[k, v] for k, v in self.machine.items()]),
            "## A round, two sites on loopback",
            _table(
                ["work", "native", "ours", "ours / native", "must be at most", "holds"],
                [*map(_speed_row, self.works), *self._memory_rows()],
            ),
            _HOW,
            *self._sites_section(),
            "## More of the same runs",
            _table(
                _DETAILS,
                [row for m in self.works for row in _detail_rows(m)],
            ),
            "## CPU seconds for each GB of model that reached its receiver",
            _table(
                ["work", "gateway", "enclave host", "site agents", "children", "all"],
                [row for m in self.works if (row := _cpu_row(m))],
            ),
            "## Where the time of a round goes",
            _PHASES,
            *[
                f"**{m.work.title}**\n\n"
                + _table(["phase", "ms"], [[k, f"{v * 1e3:.1f}"] for k, v in m.phases.items()])
                for m in self.works
                if m.phases
            ],
            f"## The floor: {self.floor_bytes // MB} MB once, in this run",
            _table(
                ["operation", "ms", "GB/s"],
                [
                    [name, f"{s * 1e3:.1f}", f"{self.floor_bytes / s / 1e9:.1f}"]
                    for name, s in self.floor.items()
                ],
            ),
        ]  # fmt: skip
        failures = [f"- {m.work.key}: {text}" for m in self.works for text in m.failures]
        failures += [f"- {text}" for text in self.sites_failed]
        if failures:
            parts += ["## What failed", "\n".join(failures)]
        return "\n\n".join(part for part in parts if part) + "\n"

    def summary(self) -> str:
        """The one table, for a terminal."""
        header = ["work", "native", "ours", "ours / native", "must be at most", "holds"]
        rows = [*map(_speed_row, self.works), *self._memory_rows()]
        widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [header, *rows]
        )

    def _memory_rows(self) -> list[list[str]]:
        rows = []
        for m in self.works:
            if m.work.key == "flower-large" and m.ours:
                native = m.native.memory.get("coordinator") if m.native else None
                rows.append(
                    _memory_row(
                        "peak memory of the coordinator, " + m.work.title,
                        native,
                        m.ours.memory.get("coordinator", 0),
                        COORDINATOR_BYTES,
                    )
                )
        gateway = [m.ours.memory.get("gateway", 0) for m in self.works if m.ours]
        if gateway:
            rows.append(
                _memory_row("peak memory of the gateway, any", None, max(gateway), GATEWAY_BYTES)
            )
        return rows + [row for framework in SITES_TARGETS if (row := self._growth_row(framework))]

    def _growth_row(self, framework: str) -> list[str] | None:
        measured = [row for row in self.sites if row.framework == framework]
        if len(measured) < 2 or measured[0].megabytes < 100:  # smaller ones are never kept sealed
            return None
        few, many = measured[0], measured[-1]
        text, bound = SITES_TARGETS[framework]
        title = f"coordinator and enclave host, {framework}, {few.sites} → {many.sites} sites"
        return [
            title,
            "n/a",
            f"{_mb(few.together)} → {_mb(many.together)} MB",
            "n/a",
            text,
            _yes(many.together <= bound(few.together)),
        ]

    def _sites_section(self) -> list[str]:
        if not self.sites:
            return []
        size = self.sites[0].megabytes
        return [
            f"## More sites: {size} MB, training only",
            _table(sites.HEADER, [sites.cells(row) for row in self.sites]),
            _MANY_SITES,
        ]

    def data(self) -> dict[str, Any]:
        def run(found: Run | None) -> dict[str, Any] | None:
            if found is None:
                return None
            return {
                "round_seconds": found.round_seconds,
                "median": found.median,
                "wall": found.wall,
                "sha256": found.sha256,
                "rss": dict(found.memory),
                "rss_in_rounds": found.memory_in_rounds,
                "pss": found.pss,
                "cpu_in_rounds": found.cpu,
            }

        return {
            "format": "fedgate benchmark v1",
            "machine": dict(self.machine),
            "floor": {"bytes": self.floor_bytes, "seconds": dict(self.floor)},
            "works": [
                {
                    "key": m.work.key,
                    "title": m.work.title,
                    "array_bytes": m.work.floats * 4,
                    "model_bytes_per_round": m.work.bytes_per_round,
                    "native": run(m.native),
                    "ours": run(m.ours),
                    "phases": dict(m.phases),
                    "failures": m.failures,
                }
                for m in self.works
            ],
            "sites": [asdict(row) for row in self.sites],
            "sites_failed": list(self.sites_failed),
        }


def _speed_row(m: Measured) -> list[str]:
    target = TARGETS[m.work.key]
    ratio = m.ours.median / m.native.median if m.ours and m.native else None
    return [
        m.work.title,
        _seconds(m.native.median) if m.native else "n/a",
        _seconds(m.ours.median) if m.ours else "n/a",
        "n/a" if ratio is None else f"1/{1 / ratio:.1f}",
        f"1/{1 / target:.0f}",
        "n/a" if ratio is None else _yes(ratio <= target),
    ]


def _memory_row(title: str, native: int | None, ours: int, bound: int) -> list[str]:
    return [
        title,
        "n/a" if native is None else f"{native / MB:.0f} MB",
        f"{ours / MB:.0f} MB",
        "n/a" if not native else f"1/{native / ours:.1f}",
        f"{bound // MB} MB",
        _yes(ours <= bound),
    ]


def _detail_rows(m: Measured) -> list[list[str]]:
    same = "n/a"
    if m.native and m.ours and len(m.native.stamps) == len(m.ours.stamps):
        same = _yes(m.native.sha256 == m.ours.sha256)
    rows = []
    for side, run in (("native", m.native), ("ours", m.ours)):
        if run is None:
            continue
        seconds = run.round_seconds
        shown = ", ".join(f"{s:.3f}" if s < 1 else f"{s:.2f}" for s in seconds[:6])
        roles = ("coordinator", "enclave" if side == "ours" else "server", "site", "worker")
        sizes = [_mb(run.memory.get(role)) for role in (*roles, "gateway", "total")]
        more = f" … ({len(seconds)})" if len(seconds) > 6 else ""
        rows.append([m.work.key, side, shown + more, f"{run.wall:.1f}", *sizes, same])
    return rows


def _cpu_row(m: Measured) -> list[str] | None:
    if m.ours is None or m.work.floats < 1_000_000:
        return None
    gigabytes = m.work.bytes_per_round * len(m.ours.round_seconds) / 1e9
    cpu = m.ours.cpu
    children = cpu.get("coordinator", 0.0) + cpu.get("worker", 0.0)
    parts = [cpu.get("gateway", 0.0), cpu.get("enclave", 0.0), cpu.get("site", 0.0), children]
    return [m.work.title, *(f"{part / gigabytes:.2f}" for part in [*parts, sum(parts)])]


def _seconds(value: float) -> str:
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def _mb(value: int | None) -> str:
    return "" if value is None else f"{value / MB:.0f}"


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
