"""The same workloads through Fedgate: gateway, enclave host and sites as processes, mTLS on.

A development federation with everything as it is by default: sealed transport, simulated TEE,
policies, audit, and the sandbox where this machine has one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from benchmarks.sampling import Watch
from benchmarks.work import SITES, Run, Work
from fedgate_gateway.cli import workload
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import DatasetTemplate, Federation

SECONDS = 240
ADAPTERS = ("flower", "flare")
DATASET = "bench"


def role(root: str, process: psutil.Process) -> str:
    try:
        child = "fedgate_gateway.child" in process.cmdline()
    except psutil.Error:
        child = False
    if root.startswith("site"):
        return "worker" if child else "site"
    if root.startswith("enclave"):
        return "coordinator" if child else "enclave"
    return root


@contextlib.contextmanager
def federation(
    folder: Path, *, sandbox: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Federation]:
    """A running federation of two sites; everything of it has ended when the block has."""
    data = folder / "bench-data"
    data.mkdir(parents=True)
    template = DatasetTemplate(DATASET, str(data), settings={"partition-id": 0})
    made = Federation(
        folder / "federation",
        sites=SITES,
        datasets=[template],
        adapters=ADAPTERS,
        examples=False,
        sandbox=sandbox,
        environment=environment,
    )
    made.prepare()
    for index, site in enumerate(made.sites):  # files are there to be edited
        path = made.layout.site(site)
        path.write_text(path.read_text().replace("partition-id = 0", f"partition-id = {index}"))
    with made:
        yield made


def run(work: Work, folder: Path, made: Federation) -> Run:
    """Raises :class:`TimeoutError` or the job's own failure."""
    rounds = work.our_rounds or work.rounds
    app = work.prepare(folder, rounds)
    archive = workload.load(app, adapters=ADAPTERS)
    submissions = Submissions(made.profile_path)
    pids = {name: program.pid for name, program in made.programs.items()}
    client = made.client
    with Watch(pids, role) as usage:
        began = time.monotonic()
        signed = sign_submission(
            client.profile,
            archive,
            sites=made.sites,
            datasets=[DATASET],
            min_sites=SITES,
            recipient=client.profile.recipient_key().public_raw,
        )
        job = client.send(signed)
        submissions.submitted(job, signed)
        for _event in client.events(job["id"]):
            if time.monotonic() - began > SECONDS:
                client.cancel(job["id"])
                raise TimeoutError(f"ours: {work.key} did not end within {SECONDS} s")
        wall = time.monotonic() - began
    ended = client.job(job["id"])["job"]
    if ended["state"] != "succeeded":
        raise RuntimeError(f"ours: {work.key} is {ended['state']}: {ended['reason']}")
    results = folder / f"{work.key}-results"
    fetch_all(client, job["id"], results, submissions=submissions)
    (report,) = results.rglob("rounds.json")
    found = Run.read(report, wall)
    found.observe(usage)
    return found
