"""The workloads that are measured, and what one measurement of them gives."""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.sampling import Usage

APPS = Path(__file__).parent / "apps"
SITES = 2


@dataclass(frozen=True)
class Work:
    """One workload: a framework, an array of ``floats`` float32 values, a number of rounds."""

    key: str
    framework: str
    title: str
    floats: int
    rounds: int
    evaluate: bool = False
    #: Ours are so short that more of them cost nothing.
    our_rounds: int = 0
    #: All of them take part in every round.
    sites: int = SITES

    @property
    def bytes_per_round(self) -> int:
        """Model bytes that cross between the coordinator and all sites, both ways, in a round."""
        legs = 3 if self.evaluate else 2  # evaluation sends the model out once more
        return self.floats * 4 * self.sites * legs

    def prepare(self, into: Path, rounds: int = 0) -> Path:
        """A copy of the framework's ordinary app with this work's numbers in its configuration."""
        target = into / self.key
        shutil.copytree(APPS / self.framework, target, ignore=shutil.ignore_patterns("__pycache__"))
        if self.framework == "flower":
            path = target / "pyproject.toml"
            text = path.read_text()
            for old, new in (
                ("num-server-rounds = 5", f"num-server-rounds = {rounds or self.rounds}"),
                ("floats = 9", f"floats = {self.floats}"),
                ("evaluate = true", f"evaluate = {str(self.evaluate).lower()}"),
            ):
                if old not in text:
                    raise ValueError(f"{path} no longer says {old!r}")
                text = text.replace(old, new)
            path.write_text(text)
        else:
            path = target / "app" / "config" / "config_fed_server.json"
            config = json.loads(path.read_text())
            config["workflows"][0]["args"]["num_rounds"] = rounds or self.rounds
            config["workflows"][0]["args"]["num_clients"] = self.sites
            config["components"][0]["args"]["floats"] = self.floats
            path.write_text(json.dumps(config, indent=2))
        return target


@dataclass
class Run:
    """One measured run of a work."""

    #: Unix times: the beginning of each round, and the end of the last.
    stamps: list[float]
    #: SHA-256 of the final array.
    sha256: str
    #: Seconds from submission to the end of the job.
    wall: float
    #: Role -> peak bytes of memory of its processes.
    memory: dict[str, int] = field(default_factory=dict)
    #: Role -> the same during the rounds alone, without start and release.
    memory_in_rounds: dict[str, int] = field(default_factory=dict)
    #: Role -> peak in PSS.
    pss: dict[str, int] = field(default_factory=dict)
    #: Role -> CPU seconds of all its processes during the rounds.
    cpu: dict[str, float] = field(default_factory=dict)
    #: Phase -> seconds a round, where the run tells.
    phases: dict[str, float] = field(default_factory=dict)

    def observe(self, usage: Usage) -> None:
        """Keep what was seen of the processes, CPU during the rounds only."""
        self.memory = {**usage.rss, "total": usage.total}
        self.memory_in_rounds = usage.rss_between(self.stamps[0], self.stamps[-1])
        self.pss = dict(usage.pss)
        self.cpu = usage.cpu_between(self.stamps[0], self.stamps[-1])

    @property
    def round_seconds(self) -> list[float]:
        return [b - a for a, b in zip(self.stamps, self.stamps[1:], strict=False)]

    @property
    def median(self) -> float:
        return statistics.median(self.round_seconds)

    @classmethod
    def read(cls, path: Path, wall: float) -> Run:
        """From the rounds.json that the workload left."""
        report = json.loads(path.read_text())
        return cls([float(s) for s in report["stamps"]], str(report["sha256"]), wall)


def works(*, quick: bool) -> list[Work]:
    small, big = (3, 3) if quick else (6, 5)
    megabytes = 20 if quick else 100
    floats = megabytes * 1_000_000 // 4
    return [
        Work("flower-small", "flower", "Flower, small model, train + evaluate", 9, small, True, 30),
        Work("flower-large", "flower", f"Flower, one {megabytes} MB array, train", floats, big),
        Work("flare-small", "flare", "FLARE, small model", 9, small, our_rounds=30),
        Work("flare-large", "flare", f"FLARE, {megabytes} MB numpy model", floats, big),
    ]
