"""Memory of the enclave by number of sites: ``python -m benchmarks.sites --sites 2,8,32``.

One 100 MB float32 array, averaged; training only. Gateway and enclave host are processes as always;
all site agents share one process (see ``many_sites``), each with a worker child of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.ours import ADAPTERS, DATASET, role
from benchmarks.sampling import Watch
from benchmarks.work import Run, Work
from fedgate_gateway.cli import workload
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import DatasetTemplate, Federation

_SECONDS = 900
#: What the machine must have to spare for each site: its worker at its peak, models of its agent.
_BYTES_PER_SITE = 420_000_000


@dataclass(frozen=True)
class Measured:
    """One job on ``sites`` sites; memory is peak bytes, ``together`` that of enclave host and
    coordinator in PSS, which counts pages that both map only once.
    """

    framework: str
    sites: int
    megabytes: int
    round_seconds: float
    wall_seconds: float
    coordinator: int
    enclave: int
    together: int
    gateway: int
    sha256: str


def measure(framework: str, sites: int, megabytes: int, rounds: int) -> Measured:
    """Raises :class:`MemoryError` where the machine is too small, :class:`TimeoutError`, or the
    job's own failure.
    """
    needed = sites * _BYTES_PER_SITE * megabytes // 100
    spare = psutil.virtual_memory().available
    if spare < needed:
        raise MemoryError(
            f"{sites} sites want {needed / 1e9:.1f} GB, {spare / 1e9:.1f} GB are free"
        )
    with tempfile.TemporaryDirectory(prefix="fedgate-sites-") as name:
        folder = Path(name)
        with _federation(folder, sites) as made:
            return _run(made, framework, megabytes, rounds, folder)


@contextlib.contextmanager
def _federation(folder: Path, sites: int) -> Iterator[Federation]:
    data = folder / "data"
    data.mkdir()
    made = Federation(
        folder / "federation",
        sites=sites,
        datasets=[DatasetTemplate(DATASET, str(data), settings={"partition-id": 0})],
        adapters=ADAPTERS,
        examples=False,
        sandbox="process",
    )
    made.prepare()
    configs = [str(made.layout.site(site)) for site in made.sites]
    for site in made.sites:
        del made.programs[site]
    with (folder / "sites.log").open("wb") as log:
        command = [sys.executable, "-m", "benchmarks.many_sites", *configs]
        host = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with made:
            yield made
    finally:
        host.terminate()
        host.wait(30)


def _run(made: Federation, framework: str, megabytes: int, rounds: int, folder: Path) -> Measured:
    sites = len(made.sites)
    work = Work("sites", framework, "", megabytes * 250_000, rounds, sites=sites)
    archive = workload.load(work.prepare(folder, rounds), adapters=ADAPTERS)
    client, submissions = made.client, Submissions(made.profile_path)
    pids = {name: program.pid for name, program in made.programs.items()}
    with Watch(pids, role) as usage:
        began = time.monotonic()
        signed = sign_submission(
            client.profile,
            archive,
            sites=made.sites,
            datasets=[DATASET],
            min_sites=sites,
            recipient=client.profile.recipient_key().public_raw,
        )
        job = client.send(signed)
        submissions.submitted(job, signed)
        for _event in client.events(job["id"]):
            if time.monotonic() - began > _SECONDS:
                client.cancel(job["id"])
                raise TimeoutError(f"{sites} sites: no end within {_SECONDS} s")
        wall = time.monotonic() - began
    ended = client.job(job["id"])["job"]
    if ended["state"] != "succeeded":
        raise RuntimeError(f"{sites} sites: {ended['state']}: {ended['reason']}")
    fetch_all(client, job["id"], folder / "results", submissions=submissions)
    (report,) = (folder / "results").rglob("rounds.json")
    run = Run.read(report, wall)
    return Measured(
        framework=framework,
        sites=sites,
        megabytes=megabytes,
        round_seconds=statistics.median(run.round_seconds),
        wall_seconds=wall,
        coordinator=usage.rss["coordinator"],
        enclave=usage.rss["enclave"],
        together=usage.pss["coordinator"] + usage.pss["enclave"],
        gateway=usage.rss["gateway"],
        sha256=run.sha256,
    )


HEADER = ("framework", "sites", "a round", "the job", "coordinator", "enclave host", "both, PSS",
          "gateway")  # fmt: skip


def cells(row: Measured) -> Sequence[str]:
    """``row`` for people, in the order of ``HEADER``."""
    sizes = (row.coordinator, row.enclave, row.together, row.gateway)
    seconds = (row.round_seconds, row.wall_seconds)
    return (
        row.framework,
        str(row.sites),
        *(f"{value:.2f} s" for value in seconds),
        *(f"{size / 1e6:.0f} MB" for size in sizes),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sites", description=__doc__)
    parser.add_argument("--sites", default="2,8,32", help="numbers of sites")
    parser.add_argument("--mb", type=int, default=100, help="size of the model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--framework", choices=ADAPTERS, default="flower")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    chosen = parser.parse_args()
    rows = []
    print("  ".join(HEADER))
    for count in (int(n) for n in chosen.sites.split(",")):
        row = measure(chosen.framework, count, chosen.mb, chosen.rounds)
        rows.append(row)
        print(
            "  ".join(c.rjust(len(h)) for c, h in zip(cells(row), HEADER, strict=True)), flush=True
        )
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
