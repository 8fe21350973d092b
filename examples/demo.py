"""The demonstration: a federation on this machine runs a Flower app and a FLARE job, unmodified.

    python examples/demo.py [--dir .demo]

Starts a gateway, an enclave host and three sites, submits both workloads, shows their progress,
and ends with a report. Exits with 1 when anything is not as it should be; leaves nothing running.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fedgate import Model
from fedgate.errors import FedgateError
from fedgate_gateway.audit.verify import Report, verify
from fedgate_gateway.cli import failure, workload
from fedgate_gateway.cli.board import watch
from fedgate_gateway.cli.exports import save_export
from fedgate_gateway.cli.progress import JobProgress
from fedgate_gateway.cli.results import Fetched, fetch_all
from fedgate_gateway.cli.signing import sign_submission
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.leftovers import leftovers

HERE = Path(__file__).resolve().parent
SITES = 3
#: How far the federated model's accuracy may be from that of the model trained on pooled data.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Example:
    title: str
    folder: Path
    workload: Path
    dataset: str
    #: A script that measures the released model; without one the job's last metric counts.
    measure: str = ""


EXAMPLES = (
    Example(
        "Flower: breast cancer",
        HERE / "flower-breast-cancer",
        HERE / "flower-breast-cancer",
        "breast-cancer",
    ),
    Example(
        "FLARE: digits",
        HERE / "flare-digits",
        HERE / "flare-digits" / "job",
        "digits",
        measure="evaluate.py",
    ),
)


@dataclass
class Run:
    """One example's job, and the reference that is computed meanwhile."""

    example: Example
    progress: JobProgress
    pooled: subprocess.Popen[str]
    outputs: list[Fetched]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--dir", type=Path, default=Path(".demo"), help="default: .demo")
    options = parser.parse_args()
    began = time.monotonic()
    federation = Federation(options.dir, sites=SITES)
    print(
        f"starting a gateway, an enclave host and {SITES} sites in {federation.dir} …", flush=True
    )
    try:
        with federation:
            print(f"all are connected after {time.monotonic() - began:.1f} s", flush=True)
            runs = run_all(federation)
            exported = federation.dir / "audit-log.jsonl"
            save_export(federation.client, exported)
            log = verify(exported, federation.profile.audit_key)
            wrong = report(federation, runs, exported, log)
    except FedgateError as error:
        failure.show(error)
        return 1
    wrong += [f"still running: {command}" for command in leftovers(federation.dir).values()]
    for problem in wrong:
        print(f"WRONG: {problem}")
    print(f"{'failed' if wrong else 'done'} in {time.monotonic() - began:.1f} s; nothing runs on")
    return 1 if wrong else 0


def run_all(federation: Federation) -> list[Run]:
    """Submit every example, show their progress together, and open what they release."""
    client, submissions = federation.client, Submissions(federation.profile_path)
    recipient = federation.profile.recipient_key().public_raw
    runs = []
    for example in EXAMPLES:
        archive = workload.load(example.workload, adapters=federation.profile.adapters)
        signed = sign_submission(
            client.profile, archive, datasets=[example.dataset], recipient=recipient
        )
        job = client.send(signed)
        submissions.submitted(job, signed)
        print(f"submitted {example.title} as {job['id']}", flush=True)
        runs.append(Run(example, JobProgress.of(job), pooled(federation, example), []))
    watch(client, [run.progress for run in runs], sys.stdout)
    for run in runs:
        into = federation.dir / "results" / run.example.dataset
        shutil.rmtree(into, ignore_errors=True)
        run.outputs = fetch_all(client, run.progress.job, into, submissions=submissions)
    return runs


def data_files(federation: Federation, example: Example) -> list[str]:
    return [str(federation.dataset(example.dataset, site)) for site in federation.sites]


def pooled(federation: Federation, example: Example) -> subprocess.Popen[str]:
    """The same model trained on all sites' data in one place, while the job runs."""
    command = [sys.executable, "pooled.py", *data_files(federation, example)]
    return subprocess.Popen(command, cwd=example.folder, stdout=subprocess.PIPE, text=True)


def report(federation: Federation, runs: list[Run], exported: Path, log: Report) -> list[str]:
    """Print what came out; returns what is not as it should be."""
    wrong: list[str] = []
    print()
    for run in runs:
        wrong += report_run(federation, run)
    trusted = log.ok and log.trusted
    print(f"audit log: {log.size} entries in {exported}")
    print(f"  verifies with the key in the profile: {'yes' if trusted else 'NO'}")
    print("  check it yourself: fedgate audit verify " + str(exported))
    wrong += [f"audit log: {problem}" for problem in log.problems]
    if not trusted or log.kinds.get("released", 0) < len(runs):
        wrong.append("the audit log does not verify, or lacks the releases of these jobs")
    return wrong


def report_run(federation: Federation, run: Run) -> list[str]:
    title, progress = run.example.title, run.progress
    reference = float(json.loads(run.pooled.communicate(timeout=60)[0])["accuracy"])
    print(f"{title}: {progress.state} in {progress.seconds:.1f} s, {progress.round} rounds")
    if progress.state != "succeeded":
        return [f"{title} {progress.state}: {progress.reason}"]
    models = [Path(output.path) for output in run.outputs if output.kind == "model"]
    if not models:
        return [f"{title} released no model"]
    accuracy = measure(federation, run, models[0])
    print(f"  accuracy {accuracy:.4f}, trained on pooled data {reference:.4f}")
    tensors = Model.parse(models[0].read_bytes())
    print(f"  released model, opened: {models[0]} ({', '.join(tensors)})")
    if not abs(accuracy - reference) <= TOLERANCE:
        return [f"{title}: accuracy is {accuracy:.4f}, {reference:.4f} with pooled data"]
    return []


def measure(federation: Federation, run: Run, model: Path) -> float:
    """Accuracy of the released model on all sites' test data."""
    if not run.example.measure:  # its last round evaluated it at the sites
        return run.progress.metrics["accuracy"]
    command = [sys.executable, run.example.measure, str(model)]
    told = subprocess.run(
        [*command, *data_files(federation, run.example)],
        cwd=run.example.folder,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    return float(json.loads(told)["accuracy"])


if __name__ == "__main__":
    sys.exit(main())
