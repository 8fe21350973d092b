"""Jobs through real sites, an enclave and a gateway: opaque traffic, and jobs that go wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fedgate.bundle import pack_directory
from fedgate.errors import Denied
from fedgate.model import Model
from fedgate_flare.env import lay_out
from fedgate_gateway.cli.results import fetch_all
from fedgate_gateway.cli.submissions import Submissions
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.files import recipient_key
from fedgate_gateway.dev.leftovers import leftovers
from fedgate_gateway.sandbox.choose import best_available
from fedgate_gateway.site.outputs import SiteOutputs

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
JOBS = Path(__file__).parent / "jobs"
FRAMES = (
    "aux_communication:__do_task__",
    "aux_communication:cwf.end_wf.ring",
    "aux_communication:trouble.noise",
    "download_service__:*",
    "peer_context:cwf.status_reports",
)
SECRET = "kJ3vQ9-what-nobody-may-find-on-a-disk"
JOB_SECONDS, FRAME_BYTES, SCRATCH_BYTES = 45, 1_000_000, 64 << 20
#: Owners' rule about code, for jobs of this name: the other jobs here bring some.
NO_CODE = """
@id("no-code-{action}") @why("Only FLARE's own classes run here, says {who}.")
forbid (principal, action == Action::"{action}", resource)
when {{ context.brings_code && context.name == "codeless-{action}" }};
@id("no-sleep-{action}") @why("No trainer sleeps for 77 s, says {who}.")
forbid (principal, action == Action::"{action}", resource)
when {{
  context.arguments.contains("nvflare.app_common.np.np_trainer.NPTrainer: sleep_time = 77") &&
  context.name == "codeless-{action}"
}};
"""
_FINAL = {"succeeded", "failed", "denied", "cancelled", "expired"}


class Jobs:
    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation = federation
        self._folder = folder
        self._recipient = recipient_key(federation.layout).public_raw

    def start(self, job: str | Path, **options: Any) -> str:
        bundle = pack_directory(JOBS / job)
        told = self.federation.client.submit(bundle, recipient=self._recipient, **options)
        return str(told["id"])

    def trouble(self, does: str, seconds: int = 20, **meta: Any) -> str:
        """One of the jobs that go wrong; ``seconds`` for its task, ``meta`` into its meta.json."""
        folder = self._folder / f"{len(list(self._folder.iterdir()))}"
        shutil.copytree(JOBS / "trouble", folder, ignore=shutil.ignore_patterns("__pycache__"))
        for role in ("server", "client"):
            path = folder / f"app/config/config_fed_{role}.json"
            text = path.read_text().replace('"seconds": 20', f'"seconds": {seconds}')
            path.write_text(text.replace('"nothing"', json.dumps(does)))
        path = folder / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | meta))
        return self.start(folder)

    def end(self, job: str, seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (told := self.federation.client.job(job))["job"]["state"] not in _FINAL:
            assert time.monotonic() < deadline, told
            time.sleep(0.1)
        return dict(told)

    def audited(self, job: str, kind: str) -> list[dict[str, Any]]:
        entries = self.federation.client.audit_entries(job=job, limit=500)["entries"]
        return [e["data"] for e in entries if e["kind"] == kind]


@pytest.fixture(scope="module")
def jobs(
    tmp_path_factory: pytest.TempPathFactory, quick_programs: Callable[[], Any]
) -> Iterator[Jobs]:
    """Two sites whose owners allow what client-side cyclic learning needs, and a word more."""
    folder = tmp_path_factory.mktemp("federation")
    made = Federation(
        folder, sites=2, adapters=("flare",), examples=False,
        environment={"TROUBLE_SECRET": SECRET, "TRAINER_EACH": "0.4"},
    )  # fmt: skip
    made.prepare()
    guard = f"\n[guard]\nframes = {json.dumps(FRAMES)}\nframe_bytes = {FRAME_BYTES}\n"
    guard += '\n[guard.query]\narrays = "unchecked"\n'  # the sites' own model, at the end
    for site in made.sites:
        path = made.layout.site(site)
        own = f"max_jobs = 4\nscratch_bytes = {SCRATCH_BYTES}\n"
        if site == "site-1":  # its worker's first crash is its last; at site-2 as by default
            own += "worker_restarts = 0\n"
        has = "\n[resources]\nnum_of_gpus = 1\n"
        path.write_text(f"{own}{path.read_text()}{guard}{has}")
        policy = made.layout.policy(site)
        policy.write_text(  # which need not speak of frames: the guard's list decides
            policy.read_text().replace("context.release.minimum_cohort >= 2", "true")
            + NO_CODE.format(action="join", who="sites")
        )
    with made.layout.policy("gateway").open("a") as file:
        file.write(NO_CODE.format(action="submit", who="the gateway"))
    # A model that the sites pass on is, for whoever had it before, the last one's own update.
    for path in (made.layout.project, made.layout.gateway):
        path.write_text(path.read_text().replace("minimum_cohort = 2", "minimum_cohort = 1"))
    path = made.layout.enclave
    limits = f"max_jobs = 4\njob_seconds = {JOB_SECONDS}\nscratch_bytes = {SCRATCH_BYTES}\n"
    path.write_text(limits + path.read_text())
    with quick_programs(), made:
        yield Jobs(made, tmp_path_factory.mktemp("troubles"))
    assert leftovers(folder) == {}


@pytest.fixture(scope="module")
def waiting(jobs) -> str:
    """It runs as long as it may, beside all others."""
    return str(jobs.trouble("wait for itself"))


def test_nothing_that_a_running_job_writes_or_prints_is_on_the_enclaves_disk(jobs, waiting):
    if best_available() != "bubblewrap":
        pytest.skip("without a sandbox there is no scratch folder in memory")
    _wait_for(lambda: jobs.audited(waiting, "round.finished"))  # both came before its one round
    state = jobs.federation.layout.state("enclave-1")
    found = [Path(folder, name) for folder, _, names in os.walk(state) for name in names]
    assert state / "jobs" / waiting / "bundle" / "meta.json" in found
    assert [path for path in found if _holds(path, SECRET.encode())] == []


# -- opaque traffic -------------------------------------------------------------------------------


def test_peers_talk_through_the_enclave_and_every_frame_is_in_the_audit_log(jobs):
    job = jobs.start("ring")
    ended = jobs.end(job)
    assert ended["job"]["state"] == "succeeded", ended
    outputs = jobs.federation.client.outputs(job)
    assert "model" in {output["kind"] for output in outputs}
    rows = jobs.audited(job, "frames.passed")
    counted = {(r["site"], r["frame"], r["direction"]) for r in rows}
    for site in jobs.federation.sites:
        assert (site, "aux_communication:__do_task__", "out") in counted
        assert (site, "aux_communication:__do_task__", "in") in counted


def test_a_job_that_needs_more_is_refused_at_submission_with_the_names(jobs):
    with pytest.raises(Denied) as refused:
        jobs.start("swarm")
    assert "site-1: " in str(refused.value)
    assert "aux_communication:swarm_req_to_submit_learn_result" in str(refused.value)
    assert "aux_communication:__do_task__" not in str(refused.value)


def test_an_owner_who_allows_more_says_so_to_the_running_agent(jobs):
    made = jobs.federation
    before = {site: made.layout.site(site).read_text() for site in made.sites}
    for site, text in before.items():
        wrong = text.replace("[guard]", "[guard]\nframe_byte = 1")
        made.layout.site(site).write_text(wrong)
        assert "frame_byte" in _reload(made.layout.site(site)).stderr  # and nothing changes
        more = json.dumps([*FRAMES, "aux_communication:*"])
        made.layout.site(site).write_text(text.replace(json.dumps(FRAMES), more))
        assert _reload(made.layout.site(site)).returncode == 0

    def allowed() -> str:
        try:
            return jobs.start("swarm")
        except Denied:
            return ""

    deadline = time.monotonic() + 60
    while not (job := allowed()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    made.client.cancel(job)
    jobs.end(job)
    for site, text in before.items():
        made.layout.site(site).write_text(text)
        assert _reload(made.layout.site(site)).returncode == 0
    assert all(program.alive for program in made.programs.values())


def _worker(jobs: Jobs, site: str) -> psutil.Process:
    """Of the job that was started last: the newest process that is not its reaper's."""
    agent = psutil.Process(jobs.federation.programs[site].pid)
    found = [p for p in agent.children(recursive=True) if p.name() != "inspection"]
    return max(found, key=lambda p: (p.create_time(), p.pid))


def _model(jobs: Jobs, job: str, into: Path) -> np.ndarray:
    made = jobs.federation
    fetch_all(made.client, job, into, submissions=Submissions(made.profile_path))
    return Model.parse((into / "model.safetensors").read_bytes()).numpy()["numpy_key"]


def _reload(config: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedgate_gateway.cli.main", "site", "reload", "-c", config]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# -- code where an owner admits none --------------------------------------------------------------

_NP = "nvflare.app_common.np."
#: Configurations of clients without a file of code, which run some all the same.
CODE = {
    "a class of another package": {"path": "subprocess.Popen", "args": {"args": ["id"]}},
    "another package's function, as FLARE imported it": {
        "path": _NP + "np_trainer.np.fromfile", "args": {"file": "x"},
    },
    "a line for a shell": {
        "path": "nvflare.app_common.np.np_trainer.NPTrainer", "args": {"command": "id; date"},
    },
    "an argument of another package's class": {
        "path": _NP + "np_trainer.NPTrainer", "args": {"sleep_time": {"path": "os.system"}},
    },
    "an argument that names a function": {
        "path": _NP + "np_trainer.NPTrainer", "args": {"model_name": "os.system"},
    },
}  # fmt: skip


@pytest.mark.parametrize("what", CODE)
def test_code_is_refused_by_the_gateway_and_by_each_site_for_itself(jobs, tmp_path, what):
    refused_everywhere(jobs, tmp_path, CODE[what], "Only FLARE's own classes run here")


def test_what_a_class_is_handed_is_a_fact_for_every_policy(jobs, tmp_path):
    trainer = {"path": _NP + "np_trainer.NPTrainer", "args": {"sleep_time": 77}}
    refused_everywhere(jobs, tmp_path, trainer, "No trainer sleeps for 77 s")


def refused_everywhere(jobs: Jobs, tmp_path: Path, component: dict[str, Any], why: str) -> None:
    executor = {"tasks": ["train"], "executor": component}
    folder = tmp_path / "job"
    shutil.copytree(JOBS / "fedavg", folder, ignore=shutil.ignore_patterns("custom"))
    config = {"format_version": 2, "executors": [executor]}
    (folder / "app/config/config_fed_client.json").write_text(json.dumps(config))
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"name": "codeless-submit"}))
    with pytest.raises(Denied, match=f"{why}, says the gateway"):
        jobs.start(folder)
    (folder / "meta.json").write_text(json.dumps(meta | {"name": "codeless-join"}))
    job = jobs.start(folder)
    told = jobs.end(job)
    assert told["job"]["state"] == "denied", told
    answers = [site["reason"] for site in told["sites"] if site["decision"] == "denied"]
    assert answers
    assert all(f"{why}, says sites." in each for each in answers)


# -- a site that restarts -------------------------------------------------------------------------


def test_a_site_whose_worker_or_agent_is_killed_gets_its_task_again_in_the_same_round(
    jobs, tmp_path
):
    """The job needs both its sites: neither may be given up in between, nor counted twice."""
    job = jobs.start("hasty", site_files=True)
    agent = jobs.federation.programs["site-1"]
    _wait_for(lambda: jobs.audited(job, "round.finished"))
    _worker(jobs, "site-2").kill()
    heard = (e.data for e in jobs.federation.client.events(job) if e.kind == "site-state")
    next(e for e in heard if e["state"] == "restarting")
    _wait_for(lambda: jobs.audited(job, "round.finished")[-1]["round"] > 1)
    agent.kill()
    agent.start()
    ended = jobs.end(job)
    assert ended["job"]["state"] == "succeeded", ended
    finished = jobs.audited(job, "round.finished")
    assert [row["round"] for row in finished] == [1, 2, 3, 4, 5, 6]
    assert all(sorted(row["answered"]) == ["site-1", "site-2"] for row in finished)
    for site in jobs.federation.sites:  # and the round that lost it for a while says so
        assert any(site in {**row["failed"], **row["unreached"]} for row in finished[:-1]), finished
    weights = np.array([[0.0, 1.0], [2.0, -4.0]])
    for _ in finished:
        weights = weights / 2 + 1.5  # the mean of both sites, each of them once
    assert np.array_equal(_model(jobs, job, tmp_path), weights)
    deadline = time.monotonic()
    # What it wrote at a site stays there, for the site's owner, and comes to the submitter.
    lay_out(tmp_path)
    for site in jobs.federation.sites:
        kept = SiteOutputs(jobs.federation.layout.state(site), limit=1, days=1)
        while job not in [one.job for one in kept.list()]:
            assert time.monotonic() < deadline + 60
            time.sleep(0.05)
        files = {file.name: file.path for file in kept.of(job).files()}
        assert files["kept/rounds.txt"].read_text().endswith(f" at {site}")
        assert files["kept/rounds.txt"].stat().st_mode & 0o077 == 0
        assert "app" not in {name.partition("/")[0] for name in files}, files
        for place in (f"sites/{site}", f"{site}/simulate_job"):  # where FLARE's simulator has it
            got = tmp_path / place / "kept/rounds.txt"
            assert got.read_text() == files["kept/rounds.txt"].read_text()
        assert ended["sites"][jobs.federation.sites.index(site)]["state"] == "files-released"


# -- jobs that go wrong, beside each other --------------------------------------------------------

FLOOD = ("too much opaque traffic", "trouble.noise", f"guard.frame_bytes is {FRAME_BYTES}")
#: What a job does, and what its submitter reads in the opened log.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "raise": ("Exception in workflow", "RuntimeError: no luck today"),
    "wait for itself": ("ran longer than it may", f"{JOB_SECONDS} s"),
    "block the sites": ("every site failed at 'train'", "site-2: no answer within 2 s"),
    "kill a site": ("mandatory sites are gone", "site-1", "exit code 3"),
    "flood the sites": FLOOD,
    "flood the server past FLARE": FLOOD,
    "fill the scratch": ("filled its scratch folder", str(SCRATCH_BYTES), "No space left"),
    "fill the sites": ("wrote more than it may", str(SCRATCH_BYTES)),
}


@pytest.fixture(scope="module")
def troubled(jobs, waiting) -> dict[str, str]:
    """All of them handed in together, and with them two that end well: a few run at a time."""
    seconds = {"block the sites": 2, "kill a site": 30}
    gpu = {"resource_spec": {"site-2": {"num_of_gpus": 1}}}
    meta = {"kill a site": {"mandatory_clients": ["site-1"]}, "nothing": gpu}
    started = {"wait for itself": waiting}
    for does in [*(does for does in ENDINGS if does not in started), "nothing"]:
        started[does] = jobs.trouble(does, seconds.get(does, 20), **meta.get(does, {}))
    started["one is enough"] = jobs.trouble("kill a site", 30, **gpu)
    return started


@pytest.mark.parametrize("does", ENDINGS)
def test_a_job_that_goes_wrong_fails_with_what_and_why(jobs, troubled, does, opened_log):
    told = jobs.end(troubled[does])["job"]
    assert told["state"] == "failed"
    log = opened_log(jobs.federation, troubled[does])
    for words in ENDINGS[does]:
        assert words in log, log
    assert not any(words in told["reason"] for words in ("luck", "exit code", "noise", "No space"))


@pytest.mark.parametrize("does", ["flood the server past FLARE", "flood the sites"])
def test_a_flood_is_counted_and_in_the_audit_log(jobs, troubled, does):
    job = troubled[does]
    jobs.end(job)
    (refused, *_) = jobs.audited(job, "frame.refused")
    assert refused["frame"] == "aux_communication:trouble.noise", "as the owner's own list says"
    passed = [r for r in jobs.audited(job, "frames.passed") if r["direction"] == "out"]
    assert all(0 < row["bytes"] <= FRAME_BYTES for row in passed)


@pytest.mark.parametrize(("does", "lost"), [("nothing", []), ("one is enough", ["site-1"])])
def test_jobs_beside_them_end_well(jobs, troubled, does, lost):
    """Also one that a dead site does not matter to: it waits for the other one's answer."""
    job = troubled[does]
    assert jobs.end(job)["job"]["state"] == "succeeded"
    (told,) = jobs.audited(job, "round.finished")
    assert sorted(told["failed"]) == lost
    assert sorted(told["sites"]) == list(jobs.federation.sites)


def test_two_jobs_that_each_want_a_sites_one_gpu_have_it_one_after_the_other(jobs, troubled):
    first, second = (jobs.end(troubled[does])["job"] for does in ("nothing", "one is enough"))
    assert (first["state"], second["state"]) == ("succeeded", "succeeded")
    assert second["started"] >= first["ended"]


def test_a_refused_frame_is_told_in_the_job_and_its_log_with_what_would_allow_it(
    jobs, troubled, opened_log
):
    job = troubled["nothing"]
    jobs.end(job)
    log = opened_log(jobs.federation, job)
    told = jobs.federation.client.job(job)["refused_frames"]
    assert sorted(frame["site"] for frame in told) == list(jobs.federation.sites)
    for frame in told:  # a name that code made up is for the owner alone
        assert frame["frame"] == "undeclared"
        assert "refused a frame that nobody declared" in frame["told"]
        assert frame["told"] in log
        own = (jobs.federation.layout.state(frame["site"]) / "logs" / f"{job}.log").read_text()
        assert 'add "aux_communication:trouble.word" to frames under [guard]' in own
    assert "trouble.word" not in log


def test_after_all_that_every_program_runs_and_nothing_of_a_job_is_left(jobs, troubled):
    for job in troubled.values():
        jobs.end(job)
    made = jobs.federation
    assert all(program.alive for program in made.programs.values())
    for program in ("enclave-1", *made.sites):
        folder = made.layout.state(program) / "jobs"
        _wait_for(lambda f=folder: list(f.iterdir()) == [])


def _holds(path: Path, text: bytes) -> bool:
    try:
        return text in path.read_bytes()
    except OSError:  # of another job, which has just ended
        return False


def _wait_for(done: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)
