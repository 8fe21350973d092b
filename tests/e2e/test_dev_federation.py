"""A federation by `fedgate dev`, through the command line alone.

Commands run in this process, but for a few that are started as people start them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedgate import Model
from fedgate_gateway.config import GatewayConfig, load_config
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.layout import Layout
from fedgate_gateway.dev.leftovers import leftovers
from fedgate_gateway.dev.ports import HOST

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
PLAIN = Path(__file__).parents[1] / "plain" / "workload"
#: Mean of 2.0 and 4.0, approached by half the way in each of three rounds.
EXPECTED = 3.0 * (1 - 0.5**3)


def submit(fedgate, profile: Path, into: Path, *more: object):
    return fedgate(
        profile, "job", "submit", PLAIN, "--datasets", "numbers", "--wait",
        "--output", into, "--format", "json", *more,
    )  # fmt: skip


def model_of(told: dict) -> Model:
    (path,) = [output["path"] for output in told["outputs"] if output["kind"] == "model"]
    return Model.parse(Path(path).read_bytes())


def test_a_job_is_submitted_watched_and_its_model_opened(federation, command, fedgate, tmp_path):
    ran = submit(command, federation.profile_path, tmp_path / "out")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["job"]["state"] == "succeeded"
    assert all(output["sealed"] for output in told["outputs"])
    assert model_of(told)["w"].numpy()[0] == pytest.approx(EXPECTED)
    assert "round 3 train: 2 of 2 sites" in ran.err
    shown = fedgate(federation.profile_path, "job", "show", told["job"]["id"], "--format", "json")
    assert {site["decision"] for site in json.loads(shown.out)["sites"]} == {"accepted"}
    shown = fedgate(federation.profile_path, "job", "show", told["job"]["id"])
    assert "metrics: whoever has the gateway can read them" in shown.out
    again = fedgate(
        federation.profile_path, "job", "result", told["job"]["id"], "--output", tmp_path / "out"
    )
    assert again.code == 73, "outputs must not mix with those that are there"


def test_a_setting_that_the_workload_declares_can_be_overridden(federation, fedgate, tmp_path):
    ran = submit(fedgate, federation.profile_path, tmp_path / "out", "--config", "size=7")
    assert ran.code == 0, ran.err
    assert model_of(json.loads(ran.out))["w"].numpy().shape == (7,)


def test_a_job_that_fails_exits_with_1_and_its_log_says_why(federation, fedgate, tmp_path):
    profile = federation.profile_path
    ran = submit(fedgate, profile, tmp_path / "out", "--config", "fail=no data today")
    assert ran.code == 1
    error = json.loads(ran.err.strip().splitlines()[-1])["error"]
    assert "the workload's code failed" in error["why"]
    job = error["what"].split()[0]
    assert "no site returned a model" in fedgate(profile, "job", "logs", job).out


def test_a_job_that_is_denied_exits_with_77_and_the_reason(federation, command, fedgate):
    profile = federation.profile_path
    ran = command(profile, "job", "submit", PLAIN, "--datasets", "payroll", "--wait")
    assert ran.code == 77, "at the sites"
    assert "this site has no dataset: payroll" in ran.err
    ran = fedgate(profile, "job", "submit", PLAIN, "--sites", "site-1")
    assert ran.code == 77, "at the gateway"
    assert "A job needs at least two sites." in ran.err


def test_a_directory_that_is_no_workload_exits_with_65(federation, fedgate, tmp_path):
    (tmp_path / "file.txt").write_text("x")
    ran = fedgate(federation.profile_path, "job", "submit", tmp_path)
    assert ran.code == 65
    assert "no adapter recognises this workload" in ran.err


def test_the_log_verifies_and_an_altered_export_does_not(federation, fedgate, tmp_path):
    profile, exported = federation.profile_path, tmp_path / "log.jsonl"
    assert fedgate(profile, "audit", "verify").code == 0
    assert fedgate(profile, "audit", "export", exported).code == 0
    assert fedgate(profile, "audit", "verify", exported).code == 0
    exported.write_bytes(exported.read_bytes().replace(b'"site-1"', b'"site-9"', 1))
    assert fedgate(profile, "audit", "verify", exported).code == 76


def test_a_developer_is_no_administrator(federation, fedgate):
    assert fedgate(federation.profile_path, "token", "list").code == 77
    listed = fedgate(federation.layout.admin_profile, "token", "list", "--format", "json")
    assert {token["name"] for token in json.loads(listed.out)["tokens"]} == {"admin", "developer"}


def test_a_restarted_site_is_told_offline_and_online_again(federation, fedgate):
    profile = federation.profile_path
    assert fedgate(profile, "site", "status", "site-2").code == 0
    federation.programs["site-2"].kill()
    deadline = time.monotonic() + 60
    while fedgate(profile, "site", "status", "site-2").code != 69:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    federation.restart("site-2")
    assert fedgate(profile, "site", "status", "site-2").code == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of one federation that is started again and again, from its files."""
    written = tmp_path_factory.mktemp("dev") / "federation"
    Federation(written, sites=2, adapters=("plain",), examples=False).prepare()
    return written


@pytest.fixture
def dev() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """`fedgate dev` in the foreground, once it says that everybody is connected."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fedgate_gateway.cli.main", "dev", "--dir", str(folder)]
        process = subprocess.Popen(
            [*command, "--sites", "2", "--no-examples"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        shown = ""
        while "Ctrl-C stops everything" not in shown:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            shown += line
        assert str(folder / "profile.toml") in shown
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def programs(folder):
    """What runs in a federation, without the processes in which bundles are read."""
    names = {p: Path(f"/proc/{p}/comm").read_text().strip() for p in leftovers(folder)}
    return {p: c for p, c in leftovers(folder).items() if names.get(p) != "inspection"}


def test_dev_ends_by_ctrl_c_and_leaves_nothing(dev, folder, nothing_left):
    process = dev(folder)
    assert len(programs(folder)) == 4, "gateway, enclave, two sites"
    assert len(leftovers(folder)) == 8, "and the process of each that reads bundles"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    nothing_left(folder, 0)


def test_dev_says_which_program_died_and_stops_the_others(dev, folder, nothing_left):
    process = dev(folder)
    site = next(p for p, command in programs(folder).items() if "site-1.toml" in command)
    os.kill(site, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 69
    assert "site-1 has ended (exit code -9)" in err
    nothing_left(folder, 0)


def test_killing_dev_leaves_nothing_either(dev, folder, nothing_left):
    process = dev(folder)
    process.kill()
    process.communicate(timeout=60)
    nothing_left(folder)


def test_a_port_that_is_taken_later_is_a_clear_error(folder, command):
    port = load_config(GatewayConfig, Layout(folder).gateway).link.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # its own have just ended
        other.bind((HOST, port))
        other.listen()
        ran = command(None, "dev", "--dir", folder)
    assert ran.code == 69
    assert f"the port {port} for the link is taken" in ran.err
    assert "gateway.toml" in ran.err
