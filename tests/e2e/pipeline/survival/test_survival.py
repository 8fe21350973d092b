"""What a kill costs: SIGKILL at a seeded moment, for each process and framework, counted.

Prints the table of docs/guides/when-something-goes-wrong.md. ``N=30 SEED=7`` for another one:
``N=10 make torture TESTS=tests/e2e/pipeline/survival``.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.torture, pytest.mark.e2e, pytest.mark.timeout(1800)]
SEED = int(os.environ.get("SEED", "1"))
TRIALS = int(os.environ.get("N", "10"))
ROUNDS, PAUSE = 10, 0.4
SITES = (1, 2, 3)
FRAMEWORKS = ("plain", "Flower", "FLARE")
#: What is killed, and whether its jobs must survive it. A worker and a coordinator are killed in
#: each job; of the others one kill meets all jobs. Programs are started again within two seconds.
KILLED = {
    "a worker": True, "a site's agent": True, "a site's agent, for good": True,
    "the gateway": True, "the coordinator": False, "the enclave host": False,
}  # fmt: skip


@dataclass
class Count:
    jobs: int = 0
    survived: int = 0
    #: Weights that are not those of the sites and rounds that the log names.
    wrong: list[str] = field(default_factory=list)
    #: In which every site's update of every round is.
    whole: int = 0
    #: Those that failed without a reason.
    mute: int = 0

    def __str__(self) -> str:
        return (
            f"{self.survived} of {self.jobs} succeeded, {self.whole} with all updates, "
            f"{len(self.wrong)} with wrong bits, {self.mute} failed without a reason"
        )


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any]) -> Any:
    return make_bench(sites=len(SITES), adapters=("plain", "flower", "flare"), edit=eager)


def eager(folder: Path) -> None:
    """A site that is killed for good is given up after five seconds rather than a minute."""
    enclave = folder / "enclave.toml"
    enclave.write_text(f"grace_seconds = 5\n{enclave.read_text()}")


@pytest.fixture(scope="module")
def counts(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Count]]:
    made: dict[tuple[str, str], Count] = defaultdict(Count)
    yield made
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n\nseed {SEED}, {TRIALS} kills of each, {ROUNDS} rounds, {len(SITES)} sites")
        for (killed, framework), count in made.items():
            print(f"{killed:26} {framework:8} {count}")


def online(bench: Any) -> set[str]:
    try:
        client = bench.federation.client
        return {p["name"] for p in [*client.sites(), *client.enclaves()] if p["online"]}
    except Exception:  # the gateway may be the one that was killed
        return set()


def child_of(bench: Any, program: str, job: str) -> psutil.Process | None:
    """The process of one job that runs its code: the last that was started in its folder."""
    mine = []
    for process in bench.children(program):
        try:
            if job in process.cwd():
                mine.append((process.create_time(), process.pid, process))
        except psutil.Error:
            continue
    return max(mine)[2] if mine else None


def kill(bench: Any, killed: str, jobs: list[str], chance: random.Random) -> set[str]:
    """Returns those jobs that it met."""
    programs = bench.federation.programs
    site = f"site-{chance.choice(SITES)}"
    running = {job for job in jobs if bench.job(job)["state"] == "running"}
    if killed in ("a worker", "the coordinator"):
        met = set()
        for job in running:
            child = child_of(bench, site if killed == "a worker" else "enclave-1", job)
            if child is not None:
                child.kill()
                met.add(job)
        return met
    name = {"the gateway": "gateway", "the enclave host": "enclave-1"}.get(killed, site)
    programs[name].kill()
    if not killed.endswith("for good"):
        time.sleep(chance.uniform(0, 2))
        programs[name].start()
    return running


def contributions(bench: Any, job: str) -> list[list[int]]:
    """By round: the sites whose results the enclave counted, as the log says.

    A task that a site gets again, as in FLARE, is an entry of its own: of the same round.
    """
    found: list[set[str]] = []
    failed: set[str] = set()
    entries = [e["data"] for e in bench.audit(job, "round.finished")]
    for data in sorted(entries, key=lambda data: data["round"]):
        if data["task"] != "train":
            continue
        answered = set(data["answered"])
        if found and set(data["sites"]) <= failed:
            found[-1] |= answered
        else:
            found.append(answered)
            failed = set()
        failed = (failed | set(data["failed"]) | set(data["unreached"])) - answered
    return [sorted(int(site.rpartition("-")[2]) for site in sites) for sites in found]


@pytest.mark.parametrize("killed", KILLED)
def test_what_a_kill_costs(
    bench: Any, workloads: Any, model_of: Any, counts: Any, killed: str, tmp_path: Path
) -> None:
    everybody = set(bench.federation.programs) - {"gateway"}
    for number in range(TRIALS):
        for program in bench.federation.programs.values():
            program.start()
        bench.until(lambda: online(bench) == everybody)
        chance = random.Random(f"{SEED} {killed} {number}")
        hold = bench.folder / f"{killed}-{number}"
        archives = {f: workloads[f](ROUNDS, PAUSE, str(hold)) for f in FRAMEWORKS}
        jobs = {f: bench.submit(archive, min_sites=2) for f, archive in archives.items()}
        for job in jobs.values():
            bench.training(job, 90)
        hold.touch()
        time.sleep(chance.uniform(0, ROUNDS * PAUSE * 0.8))
        met = kill(bench, killed, list(jobs.values()), chance)
        bench.until(bench.federation.client.ready)
        for framework, job in jobs.items():
            told = bench.wait(job, 180)
            if job in met:
                judge(bench, counts[killed, framework], job, told, model_of, tmp_path)
    for framework in FRAMEWORKS:
        count = counts[killed, framework]
        assert count.jobs, (killed, framework)
        assert (count.wrong, count.mute) == ([], 0), (killed, framework, str(count))
        assert count.survived == count.jobs or not KILLED[killed], (killed, framework, str(count))


def judge(
    bench: Any, count: Count, job: str, told: dict[str, Any], model_of: Any, folder: Path
) -> None:
    count.jobs += 1
    if told["state"] != "succeeded":
        count.mute += not told["reason"]
        print(f"{job}: {told['state']}: {told['reason']}")
        return
    count.survived += 1
    bench.until(lambda: bench.audit(job, "released"))  # the enclave's last entry
    rounds = contributions(bench, job)
    (weights,) = bench.arrays(job, folder).values()
    expected = model_of(rounds)
    if weights.astype("float64").tobytes() != expected.astype("float64").tobytes():
        count.wrong.append(f"{job} {rounds}")
    count.whole += rounds == [list(SITES)] * ROUNDS
