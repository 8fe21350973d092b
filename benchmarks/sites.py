"""Memory of the enclave by number of sites: ``python -m benchmarks.sites --sites 2,8,32``.

One 100 MB float32 array, FedAvg, train only. Gateway and enclave host are processes as always; all
site agents share one process (see ``many_sites``), each with a worker child of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.ours import ADAPTERS, DATASET, role
from benchmarks.sampling import Watch
from benchmarks.work import Run, Work
from fedgate_gateway.cli import workload
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import DatasetTemplate, Federation

_SECONDS = 900


def measure(sites: int, megabytes: int, rounds: int, folder: Path) -> dict[str, float | int | str]:
    """One job on so many sites; sizes in bytes, times in seconds."""
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
            return _run(made, host.pid, sites, megabytes, rounds, folder)
    finally:
        host.terminate()
        host.wait(30)


def _run(
    made: Federation, host: int, sites: int, megabytes: int, rounds: int, folder: Path
) -> dict[str, float | int | str]:
    work = Work("sites", "flower", "", megabytes * 250_000, rounds)
    archive = workload.load(work.prepare(folder, rounds), adapters=ADAPTERS)
    client, submissions = made.client, Submissions(made.profile_path)
    pids = {name: program.pid for name, program in made.programs.items()} | {"site": host}
    with Watch(pids, role) as usage:
        began = time.monotonic()
        job = client.submit(
            archive,
            sites=made.sites,
            datasets=[DATASET],
            min_sites=sites,
            recipient=client.profile.recipient_key().public_raw,
        )
        submissions.submitted(job, archive)
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
    return {
        "sites": sites,
        "megabytes": megabytes,
        "round_seconds": statistics.median(run.round_seconds),
        "wall_seconds": wall,
        "coordinator_rss": usage.rss["coordinator"],
        "enclave_rss": usage.rss["enclave"],
        "together_pss": usage.pss["coordinator"] + usage.pss["enclave"],
        "gateway_rss": usage.rss["gateway"],
        "sha256": run.sha256,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", default="2,8,32")
    parser.add_argument("--mb", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    chosen = parser.parse_args()
    rows = []
    print("sites  round s  coordinator MB  enclave MB  both, PSS MB  gateway MB")
    for count in (int(n) for n in chosen.sites.split(",")):
        with tempfile.TemporaryDirectory(prefix="fedgate-sites-") as folder:
            row = measure(count, chosen.mb, chosen.rounds, Path(folder))
        rows.append(row)
        sizes = [row[k] for k in ("coordinator_rss", "enclave_rss", "together_pss", "gateway_rss")]
        shown = "  ".join(f"{float(size) / 1e6:10.0f}" for size in sizes)
        print(f"{count:5}  {float(row['round_seconds']):7.2f}  {shown}", flush=True)
    chosen.results.mkdir(parents=True, exist_ok=True)
    (chosen.results / "sites.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
