"""The installed `flwr` executable, unmodified, against a real federation over TLS."""

from __future__ import annotations

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from fedgate import Model
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.leftovers import leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "flower-breast-cancer"
BIN = Path(sys.executable).parent
SECONDS = 90
ROUNDS = "num-server-rounds"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything, without the boxes and line breaks that flwr draws for terminals."""
        return " ".join(re.sub(r"[│╭╮╰╯─]", " ", self.out + self.err).split())

    @property
    def run_id(self) -> int:
        found = re.search(r"Successfully started run (\d+)", self.out)
        assert found, self.out + self.err
        return int(found[1])


@dataclass
class Shell:
    """A person's terminal: their app, their Flower home, their Fedgate profile."""

    federation: Federation
    home: Path
    app: Path
    #: The command of `flwr`, its imports paid once.
    warm: Any = None

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FEDGATE_PROFILE": str(self.federation.profile_path),
            "BROWSER": "true",  # nobody looks
            "COLUMNS": "300",
        }

    def flwr(self, *command: object) -> Ran:
        """What ``self("flwr", …)`` does, without a second of imports each time."""
        ran = self.warm(*command)
        assert "Traceback" not in ran.out + ran.err
        return Ran(ran.code, ran.out, ran.err)

    def __call__(self, *command: object) -> Ran:
        """A command as its installed script."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [str(BIN / program), *arguments], env=self.environment(), cwd=self.app,
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stdout + done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def shown(self, run_id: int) -> dict:
        told = self.flwr("ls", "gw", "--run-id", run_id, "--format", "json")
        (run,) = json.loads(told.out)["runs"]
        return run

    def job(self, run_id: int) -> str:
        """Our name of a run, which its log says when it is told in full."""
        jobs = self.federation.client.jobs()["jobs"]
        from fedgate_flower import identity

        return next(job["id"] for job in jobs if identity.run_id(job["id"]) == run_id)

    def wait(self, run_id: int, *states: str) -> dict:
        job, until = self.job(run_id), time.monotonic() + SECONDS
        while time.monotonic() < until:
            found = self.federation.client.job(job)["job"]
            if found["state"] in states:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{job} is {found['state']}: {found['reason']}")


@pytest.fixture(scope="module")
def shell(tmp_path_factory, warm_command, quick_programs) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("flwr")
    app = folder / "app"
    shutil.copytree(APP, app, ignore=shutil.ignore_patterns("__pycache__"))
    federation = Federation(folder / "federation", sites=2, adapters=("flower",))
    with quick_programs(), federation:
        person = Shell(federation, folder / "home", app)
        person.warm = warm_command(BIN / "flwr", app, person.environment())
        connected = person("fedgate", "flower", "connect", "gw", "--format", "json")
        assert connected.code == 0, connected.err
        yield person
        person.warm.close()
    until = time.monotonic() + 60
    while leftovers(folder) and time.monotonic() < until:
        time.sleep(0.1)
    assert leftovers(folder) == {}


@pytest.fixture(scope="module")
def finished(shell) -> tuple[int, Ran]:
    """A run that went well, and what `flwr run --stream` printed."""
    ran = shell("flwr", "run", ".", "gw", "--stream", "--run-config", f"{ROUNDS}=2")
    assert ran.code == 0, ran.text
    return ran.run_id, ran


def test_a_run_is_streamed_from_review_to_release(finished):
    _, ran = finished
    assert "in federation @fedgate/demo" in ran.text
    assert re.search(r"Note: job-\w+, in review: waits for site-1, site-2 to decide", ran.text)
    for told in ("site site-1 accepted", "round 2 evaluate: 2 of 2 sites", "accuracy",
                 "released model.safetensors", "succeeded", "fedgate job result job-"):  # fmt: skip
        assert told in ran.out, told
    assert "round 3" not in ran.out, "the override of --run-config counts"


def test_runs_are_listed_for_people_and_for_programs(shell, finished):
    run_id, _ = finished
    listed = shell.flwr("ls", "gw")
    assert str(run_id) in listed.out
    assert "finished:completed" in listed.out
    (run,) = [r for r in json.loads(shell.flwr("ls", "gw", "--format", "json").out)["runs"]
              if r["run-id"] == str(run_id)]  # fmt: skip
    assert run["fab-id"] == "fedgate-examples/breast-cancer"
    assert run["federation-id"] == "@fedgate/demo"
    assert run["network-traffic"]["inbound-bytes"] > 0


def test_the_hash_that_is_shown_is_the_one_of_flwr_build(shell, finished, tmp_path):
    built = shell.flwr("build", "--app", str(shell.app))
    assert built.code == 0, built.text
    (fab,) = shell.app.glob("*.fab")
    from fedgate.bundle import digest_of

    digest = digest_of(fab.read_bytes())
    fab.unlink()
    assert "sha256:" + shell.shown(finished[0])["fab-hash"] == digest
    assert shell.federation.client.job(shell.job(finished[0]))["job"]["bundle"] == digest


def test_a_log_can_be_read_again(shell, finished):
    run_id, _ = finished
    for how in ("--stream", "--show"):
        again = shell.flwr("log", run_id, "gw", how)
        assert again.code == 0
        assert "round 2 train: 2 of 2 sites" in again.out
        assert "succeeded" in again.out


def test_what_was_released_is_pulled_sealed_and_opened(shell, finished, tmp_path):
    run_id, _ = finished
    pulled = shell.flwr("pull", run_id, "gw")
    assert pulled.code == 0, pulled.text
    url = re.search(r"https://\S+", pulled.out)[0]
    trusted = ssl.create_default_context(cafile=str(shell.federation.profile.ca))
    answer = httpx.get(url, verify=trusted)
    with zipfile.ZipFile(BytesIO(answer.content)) as parcel:
        names = parcel.namelist()
        assert "model.safetensors.sealed" in names
        command = re.search(r"fedgate job result (\S+)", parcel.read("README.txt").decode())
        stored = parcel.read("model.safetensors.sealed")
    opened = shell("fedgate", "job", "result", command[1], "--output", tmp_path / "out")
    assert opened.code == 0, opened.text
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert Model.parse(content)
    assert content[-64:] not in stored


def test_a_run_is_stopped(shell):
    run_id = shell.flwr("run", ".", "gw", "--run-config", f"{ROUNDS}=1000000").run_id
    shell.wait(run_id, "running")
    stopped = shell.flwr("stop", run_id, "gw")
    assert stopped.code == 0, stopped.text
    assert f"Run {run_id} successfully stopped" in stopped.out
    assert shell.shown(run_id)["status"] == "finished:stopped"
    again = shell.flwr("stop", run_id, "gw")
    assert again.code == 1
    assert "has ended already" in again.text


def test_a_denied_run_says_who_and_why(shell):
    overrides = 'fedgate.datasets="payroll"'
    ran = shell.flwr("run", ".", "gw", "--stream", "--run-config", overrides)
    assert "denied: " in ran.out
    assert "payroll" in ran.out
    run = shell.shown(ran.run_id)
    assert run["status"] == "finished:failed"
    assert run["status-details"].startswith("denied: site-")
    assert "payroll" in run["status-details"]


def test_a_policy_s_no_comes_before_there_is_a_run(shell):
    ran = shell.flwr("run", ".", "gw", "--run-config", 'fedgate.sites="site-1"')
    assert ran.code == 1
    assert "A job needs at least two sites." in ran.text
    assert "Successfully started" not in ran.out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("run", ".", "gw", "--run-config", "nope=1"), "no setting 'nope'"),
        (("run", ".", "gw", "--federation", "@me/x"), "@fedgate/<project>"),
        (("run", ".", "gw", "--federation", "@fedgate/other"), "project 'other'"),
        (("ls", "gw", "--run-id", "7"), "there is no run 7"),
        (("log", "7", "gw"), "there is no run 7"),
        (("pull", "7", "gw"), "there is no run 7"),
        (("supernode", "ls", "gw"), "fedgate site list"),
        (("federation", "ls", "gw"), "a project of this gateway"),
    ],
)
def test_what_cannot_be_is_answered_with_a_sentence(shell, command, words):
    ran = shell.flwr(*command)
    assert ran.code == 1
    assert words in ran.text


def test_a_door_on_this_machine_signs_with_the_submitters_key(shell, finished):
    """Through the gateway's own door the gateway signs; the same `flwr` through ours is oneself."""
    client = shell.federation.client
    assert client.job(shell.job(finished[0]))["job"]["signed_by"] == "gateway"
    command = [str(BIN / "fedgate"), "flower", "front-door", "mine", "--port", "0", "-f", "json",
               "--datasets", "breast-cancer", "--stop-on-eof"]  # fmt: skip
    with subprocess.Popen(
        command, env=shell.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as door:
        try:
            told = ""
            while not told.rstrip().endswith("}"):
                told += door.stdout.readline()
            assert json.loads(told)["connection"] == "mine"
            ran = shell.flwr("run", ".", "mine", "--stream", "--run-config", f"{ROUNDS}=1")
            assert ran.code == 0, ran.text
            listed = shell.flwr("ls", "mine", "--run-id", ran.run_id, "--format", "json")
            assert json.loads(listed.out)["runs"][0]["status"] == "finished:completed"
        finally:
            door.stdin.close()
            door.wait(60)
    job = client.job(shell.job(ran.run_id))["job"]
    assert (job["signed_by"], job["submitter"]) == ("submitter", "developer")
    assert job["datasets"] == ["breast-cancer"]
    assert job["sealed"]


def test_a_command_that_was_logged_in_outlives_a_restart_of_the_gateway(shell, finished):
    shell.federation.restart("gateway")
    listed = shell.flwr("ls", "gw")
    assert listed.code == 0, listed.text
    assert str(finished[0]) in listed.out


def test_flwr_login_by_the_browser(shell, finished, warm_command, tmp_path):
    """A person without `fedgate`: an address, a certificate, and the page."""
    home = tmp_path / "home"
    home.mkdir()
    address = shell.federation.client.address
    (home / "config.toml").write_text(
        f'[superlink.gw]\naddress = "{address}"\n'
        f'root-certificates = "{shell.federation.profile.ca}"\n'
    )
    person = Shell(shell.federation, home, shell.app)
    person.warm = warm_command(BIN / "flwr", shell.app, person.environment())
    before = person.flwr("ls", "gw")
    assert before.code == 1
    assert "run `flwr login`" in before.text
    trusted = ssl.create_default_context(cafile=str(shell.federation.profile.ca))
    login = subprocess.Popen(
        [str(BIN / "flwr"), "login", "gw"], env={**person.environment(), "PYTHONUNBUFFERED": "1"},
        cwd=shell.app, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    killer = threading.Timer(SECONDS, login.kill)
    killer.start()
    try:
        url = next(line.strip() for line in login.stdout if line.strip().startswith("https://"))
        with httpx.Client(verify=trusted) as browser:
            page = browser.get(url)
            code = re.search(r"<code>([A-Z-]+)</code>", page.text)[1]
            fields = {"code": code, "answer": "approve"}
            token = shell.federation.profile.read_token()
            done = browser.post(url.partition("?")[0], data={**fields, "token": token})
            assert "Approved" in done.text
        rest = login.stdout.read()
        assert login.wait(60) == 0, rest
        assert "Login successful" in rest
    finally:
        killer.cancel()
        login.kill()
        login.wait()
    assert str(finished[0]) in person.flwr("ls", "gw").out
    person.warm.close()
