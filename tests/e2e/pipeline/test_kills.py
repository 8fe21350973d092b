"""Any process can be killed at any time: its job goes on or fails with the reason, nothing is left.

SIGKILL each time: what a crash, an out-of-memory killer or a power cut leaves behind.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fedgate.bundle import pack_files
from fedgate.codes import Code

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SEED = int(os.environ.get("SEED", "1"))
#: Seconds until a silent peer is offline, and until a site that is away counts as lost.
_OFFLINE, _GRACE = 6, 1
_RESTARTS = 1


def impatient(folder: Path) -> None:
    """The same files with shorter times."""
    with (folder / "gateway.toml").open("a") as file:
        file.write(f"\n[limits]\nheartbeat_seconds = 0.5\noffline_seconds = {_OFFLINE}\n")
    enclave = folder / "enclave.toml"
    enclave.write_text(f"grace_seconds = {_GRACE}\n{enclave.read_text()}")
    for path in folder.glob("site-*.toml"):
        path.write_text(f"worker_restarts = {_RESTARTS}\n{path.read_text()}")
    for path in (enclave, *folder.glob("site-*.toml")):
        with path.open("a") as file:
            file.write("\n[runtime.limits]\nstop_seconds = 1\n")


@pytest.fixture(scope="module")
def federation(make_bench: Callable[..., Any]) -> Any:
    return make_bench(sites=3, edit=impatient, lines=True, programs={"site-3": "late_site"})


@pytest.fixture
def bench(federation: Any) -> Iterator[Any]:
    """With every program running, before and after; and no child once no job runs."""
    yield federation
    for program in federation.federation.programs.values():
        program.start()
    names = set(federation.federation.programs) - {"gateway"}
    federation.until(lambda: online(federation) == names)
    for name in names:
        federation.until(lambda n=name: not federation.children(n))


def online(bench: Any) -> set[str]:
    try:
        client = bench.federation.client
        peers = [*client.sites(), *client.enclaves()]
    except Exception:  # the gateway may be the one that was killed
        return set()
    return {peer["name"] for peer in peers if peer["online"]}


def start(bench: Any, make_workload: Any, *, rounds: int = 3, **options: Any) -> str:
    """A job whose first round is under way at every site, and lasts until :func:`go_on`."""
    hold = bench.folder / "go-on"
    hold.unlink(missing_ok=True)
    pause = options.pop("pause", 0.0)
    archive = make_workload(rounds=rounds, pause=pause, hold=str(hold))
    job = str(bench.submit(archive, **options))
    bench.training(job)
    return job


def go_on(bench: Any) -> None:
    (bench.folder / "go-on").touch()


def the_child(bench: Any, program: str) -> psutil.Process:
    """The process that does the job's work, not its guardian, which was started before."""
    return max(bench.children(program), key=lambda p: (p.create_time(), p.pid))


def ended(processes: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + 60
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.03)
    return not any(map(alive, processes))


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def failures(bench: Any, job: str) -> dict[int, dict[str, str]]:
    return {e["round"]: e["failed"] for e in bench.events(job, "round") if e["task"] == "train"}


# -- a child ------------------------------------------------------------------------------------


def test_a_worker_that_crashed_is_started_again_in_its_job(
    bench: Any, make_workload: Any, opened_log: Any
) -> None:
    job = start(bench, make_workload, min_sites=3)
    the_child(bench, "site-3").kill()
    heard = (e for e in bench.federation.client.events(job) if e.kind == "site-state")
    of_site = (e.data["state"] for e in heard if e.data["site"] == "site-3")
    assert list(itertools.islice(of_site, 3)) == ["ready", "restarting", "ready"]
    go_on(bench)  # the others have waited in their first task
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    assert failures(bench, job) == {1: {"site-3": "unavailable"}, 2: {}, 3: {}}
    states = [(e["state"], e.get("code")) for e in site_states(bench, job, "site-3")]
    assert states == [("ready", None), ("restarting", Code.WORKER_DIED), ("ready", None)]
    assert "SIGKILL" in opened_log(bench.federation, job)


_CRASHER = """
import os, signal, time
import numpy as np

def initial(config):
    return {"w": np.zeros(3, np.float32)}

def train(model, data, config):
    if "site-2" in os.getcwd():
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(0.1)
    return model, 1, {}

def evaluate(model, data, config):
    return 1, {}
"""


def test_a_worker_that_crashes_each_time_is_given_up_with_the_reason(bench: Any) -> None:
    toml = b'name = "crasher"\nmodule = "work.py"\nrounds = 500\n'
    job = bench.submit(pack_files({"plain.toml": toml, "work.py": _CRASHER.encode()}), min_sites=3)
    told = bench.wait(job)
    assert told["state"] == "failed"
    assert "site-2: the worker's process ended without a word" in told["reason"]
    states = [e["state"] for e in site_states(bench, job, "site-2")]
    assert states == ["ready", *["restarting", "ready"] * _RESTARTS, "lost"]


def site_states(bench: Any, job: str, site: str) -> list[dict[str, Any]]:
    return [e for e in bench.events(job, "site-state") if e["site"] == site]


def test_without_its_coordinator_a_job_fails_with_the_reason(
    bench: Any, make_workload: Any, opened_log: Any
) -> None:
    job = start(bench, make_workload)
    the_child(bench, "enclave-1").kill()
    told = bench.wait(job)
    assert told["state"] == "failed"
    assert "the coordinator's process ended" in told["reason"]
    assert "SIGKILL" in opened_log(bench.federation, job)
    kinds = {output["kind"] for output in bench.federation.client.outputs(job)}
    assert kinds == {"log"}, "a failed job's log is there, and no model"


_FORGER = """
import os, socket, sys
import numpy as np
from fedgate.task import Result
from fedgate_gateway.child import notes, wire

def initial(config):
    return {"w": np.zeros(3, np.float32)}

def train(model, data, config):
    if "site-3" in os.getcwd():
        sock = socket.socket(fileno=os.dup(int(sys.argv[-1])))
        for task, site in FORGED:
            note = notes.result_note(Result(task, site, examples=10**6))
            wire.send(sock, wire.Message({"t": "result"}, note))
    return model, 1, {}

def evaluate(model, data, config):
    return 1, {}
"""


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ([("train-1-site-1", "site-1")], "another site's name"),
        ([("train-1-site-1", "site-3")], "a task that it does not have"),
        ([("train-1-site-3", "site-3")] * 2, "a task that it does not have"),
    ],
    ids=["in another's name", "another's task", "the same task twice"],
)
def test_job_code_that_takes_over_its_worker_can_forge_nothing(
    bench: Any, forged: list[tuple[str, str]], reason: str, opened_log: Any
) -> None:
    """The second of two results would pass a guard that has just checked the first."""
    toml = b'name = "forger"\nmodule = "work.py"\nrounds = 1\n'
    code = _FORGER.replace("FORGED", repr(forged))
    job = bench.submit(pack_files({"plain.toml": toml, "work.py": code.encode()}), min_sites=2)
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    (lost,) = [e for e in bench.events(job, "site-state") if e["state"] == "lost"]
    assert (lost["site"], lost["code"]) == ("site-3", Code.FORGED_RESULT), lost
    assert reason in opened_log(bench.federation, job)


# -- a program ----------------------------------------------------------------------------------


def test_without_a_site_agent_the_others_go_on_and_its_worker_ends_with_it(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload, min_sites=2)
    workers = bench.children("site-3")
    bench.federation.programs["site-3"].kill()
    assert ended(workers)
    go_on(bench)
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    assert failures(bench, job)[1] == {"site-3": "unavailable"}
    (lost,) = bench.audit(job, "site.lost")
    assert (lost["data"]["site"], lost["data"]["code"]) == ("site-3", Code.LINK_LOST)
    shown = {site["site"]: site for site in bench.federation.client.job(job)["sites"]}
    assert [shown[name]["state"] for name in ("site-1", "site-3")] == ["ready", "lost"]
    assert shown["site-3"]["why"] == lost["data"]["why"]


def test_a_site_agent_that_is_started_again_takes_part_in_the_running_job(
    bench: Any, make_workload: Any
) -> None:
    """Also where its request, in whose time the job began, has expired meanwhile."""
    late = bench.folder / "late"
    job = start(bench, make_workload, pause=0.2, rounds=500, min_sites=2)
    bench.federation.programs["site-3"].kill()
    go_on(bench)
    bench.until(lambda: "site-3" in trained(bench, job, failed=True))
    late.touch()
    try:
        bench.federation.programs["site-3"].start()
        bench.until(lambda: "site-3" in trained(bench, job, failed=False), 60)
    finally:
        late.unlink()
    bench.federation.client.cancel(job)
    bench.wait(job)


def trained(bench: Any, job: str, *, failed: bool) -> set[str]:
    """Sites that failed in any round, or that did not fail in the last."""
    rounds = [e["data"] for e in bench.audit(job, "round.finished")]
    rounds = [r for r in rounds if r["task"] == "train"]
    if failed:
        return {site for r in rounds for site in r["failed"]}
    return set(rounds[-1]["sites"]) - set(rounds[-1]["failed"])


def test_without_its_enclave_a_job_fails_and_a_new_one_runs_once_it_is_back(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload)
    coordinator = bench.children("enclave-1")
    workers = [p for n in (1, 2, 3) for p in bench.children(f"site-{n}")]
    bench.federation.programs["enclave-1"].kill()
    assert ended(coordinator)
    told = bench.wait(job)
    assert told["state"] == "failed"
    assert "enclave" in told["reason"]
    bench.federation.programs["enclave-1"].start()
    assert bench.wait(bench.submit(make_workload()))["state"] == "succeeded"
    assert ended(workers)


def test_an_enclave_that_is_restarted_at_once_does_not_keep_a_dead_job_running(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload)
    bench.federation.programs["enclave-1"].kill()
    bench.federation.programs["enclave-1"].start()
    told = bench.wait(job)
    assert (told["state"], "restarted" in told["reason"]) == ("failed", True), told


def test_broken_transfers_and_a_gateway_killed_in_one_cost_no_update(
    bench: Any, make_noise: Any, fedgate: Any, tmp_path: Path
) -> None:
    """Resets at a random byte of a model, up and down, at enclave and site; then the kill.
    Somebody watches the job all the while.
    """
    archive, weights = make_noise(rounds=3)
    chance = random.Random(SEED)
    lines = {name: bench.lines[name] for name in ("enclave", "site-1", "site-2")}
    for line in lines.values():
        line.cut = 0
        for way in ("up", "down"):
            line.cut_after(chance.randint(500_000, 7_000_000), way)
    job = bench.submit(archive, sites=["site-1", "site-2"], min_sites=2)
    watching = ThreadPoolExecutor(1).submit(
        fedgate, bench.federation.profile_path, "job", "watch", job
    )
    bench.until(lambda: all(line.cut == 2 for line in lines.values()), 60)
    lines["site-1"].cut_after(1_000_000, "up")
    bench.until(lambda: lines["site-1"].cut == 3, 60)
    bench.federation.programs["gateway"].kill()
    bench.federation.programs["gateway"].start()
    bench.until(bench.federation.client.ready)
    told = bench.wait(job, 60)
    assert told["state"] == "succeeded", told
    assert bench.weights(job, tmp_path).tobytes() == weights.tobytes()
    assert bench.audit(job, "session.ended") == []
    assert len(bench.audit(job, "session.opened")) == 2  # the same sessions went on
    assert rounds(bench, job, "round.finished") == [1, 2, 3]  # each once, whatever broke
    assert len(bench.audit(job, "released")) == 1
    watched = watching.result(60)
    assert watched.code == 0, watched
    outage = ["the gateway does not answer; the job goes on, and is watched again then",
              "the gateway answers again"]  # fmt: skip
    said = [line for line in watched.err.splitlines() if "the gateway" in line]
    assert said in (outage, [])  # nothing where it was back before it was looked for twice
    assert watched.err.count("round 3 train") == 1
    assert watched.err.splitlines()[-1].startswith("succeeded")


_LEAVES = """
import os, time
import numpy as np

def initial(config):
    return {"w": np.zeros(3, np.float32)}

def train(model, data, config):
    site = int(os.getcwd().partition("site-")[2][0])
    with open("noise.bin", "wb") as file:
        file.write(np.random.default_rng(site).bytes(6_000_000))
    print("training", flush=True)
    while not os.path.exists(config["hold"]):
        time.sleep(0.02)
    return model, 1, {}

def evaluate(model, data, config):
    return 1, {}
"""


def test_files_that_sites_left_get_through_what_breaks_and_cost_no_job(
    bench: Any, tmp_path: Path
) -> None:
    """A site dies before; another's line breaks in its files, then the gateway is killed."""
    hold = bench.folder / "go-on"
    hold.unlink(missing_ok=True)
    toml = f'name = "leaves"\nmodule = "work.py"\nrounds = 1\n[config]\nhold = "{hold}"\n'
    files = {"plain.toml": toml.encode(), "work.py": _LEAVES.encode()}
    job = bench.submit(pack_files(files), min_sites=2, site_files=True)
    bench.training(job)
    bench.federation.programs["site-3"].kill()
    line = bench.lines["site-1"]
    line.cut = 0
    line.cut_after(1_000_000, "up")
    bench.lines["enclave"].cut_after(3_000_000, "down")
    go_on(bench)
    bench.until(lambda: line.cut == 1)
    bench.federation.programs["gateway"].kill()
    bench.federation.programs["gateway"].start()
    bench.until(bench.federation.client.ready)
    told = bench.wait(job, 60)
    assert told["state"] == "succeeded", told
    noises = {f"site-{n}": np.random.default_rng(n).bytes(6_000_000) for n in (1, 2)}
    found = bench.site_files(job, tmp_path)
    assert found == {site: {"noise.bin": noise} for site, noise in noises.items()}
    assert len(bench.audit(job, "site-files.released")) == 2
    assert len(bench.audit(job, "released")) == 1


def rounds(bench: Any, job: str, kind: str) -> list[int]:
    """Of training, as they stand in the log."""
    found = [entry["data"] for entry in bench.audit(job, kind)]
    return [entry["round"] for entry in found if entry["task"] == "train"]


def test_what_happens_while_the_gateway_is_down_is_in_the_log_even_if_the_enclave_dies_too(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload)
    gateway, enclave = (bench.federation.programs[name] for name in ("gateway", "enclave-1"))
    gateway.kill()
    the_child(bench, "enclave-1").kill()  # the coordinator: its open round is abandoned
    bench.until(lambda: not bench.children("enclave-1"))
    kept = bench.federation.layout.state("enclave-1") / "reports.sqlite"
    bench.until(lambda: b"round.abandoned" in kept.read_bytes() + wal(kept))
    enclave.kill()
    enclave.start()
    gateway.start()
    bench.until(bench.federation.client.ready)
    assert bench.wait(job)["state"] == "failed"
    bench.until(lambda: rounds(bench, job, "round.abandoned"))
    assert rounds(bench, job, "round.abandoned") == [1]
    assert bench.audit(job, "reports.missing") == []


def wal(path: Path) -> bytes:
    beside = path.with_name(path.name + "-wal")
    return beside.read_bytes() if beside.exists() else b""


def test_a_site_that_was_lost_while_the_gateway_was_down_is_not_waited_for(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload, rounds=2, min_sites=2)
    bench.federation.programs["gateway"].kill()
    bench.federation.programs["site-3"].kill()
    go_on(bench)
    bench.federation.programs["gateway"].start()
    bench.until(bench.federation.client.ready)
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    assert failures(bench, job)[1] == {"site-3": "unavailable"}


# -- deadlines and cancelling ---------------------------------------------------------------------


def test_a_worker_that_hangs_costs_its_tasks_deadline_and_no_more(
    bench: Any, make_workload: Any
) -> None:
    job = start(bench, make_workload, rounds=1, min_sites=2, task_seconds=6)
    hanging = the_child(bench, "site-1")
    hanging.suspend()
    go_on(bench)
    told = bench.wait(job)
    assert told["state"] == "succeeded", told
    assert failures(bench, job)[1] == {"site-1": "timeout"}
    assert ended([hanging])


def test_a_job_in_which_every_worker_hangs_fails(
    bench: Any, make_workload: Any, opened_log: Any
) -> None:
    hold = str(bench.folder / "nobody makes this")
    told = bench.wait(job := bench.submit(make_workload(hold=hold), task_seconds=1.5))
    assert told["state"] == "failed"
    assert "the workload's code failed" in told["reason"]
    assert "no site returned a model" in opened_log(bench.federation, job)


def test_a_cancelled_job_ends_everywhere(bench: Any, make_workload: Any) -> None:
    job = start(bench, make_workload)
    everything = [p for name in bench.federation.programs for p in bench.children(name)]
    assert len(everything) >= 4
    bench.federation.client.cancel(job)
    assert bench.wait(job)["state"] == "cancelled"
    assert ended(everything)
