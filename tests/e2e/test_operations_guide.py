"""docs/guides/operations.md, followed to its end by somebody who has nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedgate_gateway.dev.ports import HOST, choose
from fedgate_gateway.sandbox.choose import best_available
from fedgate_gateway.store import Database

#: Programs start some thirty times: a minute of a quiet machine, and more than a suite has.
pytestmark = [pytest.mark.e2e, pytest.mark.torture, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "operations.md"
_SECONDS = 500
_BLOCK = re.compile(r"^```sh (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What needs a registry or systemd itself is not run; whatever else a block does, is.
_SYSTEM = ("apt ", "/opt/", "python3 -m venv", "useradd", "systemctl", "journalctl", "runuser ")


def blocks() -> list[tuple[str, str]]:
    text = GUIDE.read_text()
    assert len(_BLOCK.findall(text)) == text.count("```sh"), "each block names its machine"
    return _BLOCK.findall(text)


def script() -> str:
    """Each block in a shell of its own, in its machine's folder."""
    steps = ["set -eu"]
    for folder, commands in blocks():
        if folder == "system":
            for line in commands.splitlines():
                assert line.startswith(_SYSTEM), line
            continue
        steps.append(f'mkdir -p "$TOP/{folder}"\n(cd "$TOP/{folder}"\n{commands})')
    return "\n".join(steps)


def follow(top: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Exit code and what was printed; nothing of it runs on."""
    said = top / "said"
    with said.open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script()],
            env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            shell.wait(_SECONDS)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # the programs are its group
            code = shell.wait()
    return code, said.read_text()


def system(beginning: str) -> str:
    """The one command of the `sh system` blocks that begins so."""
    lines = [line for folder, text in blocks() if folder == "system" for line in text.splitlines()]
    (found,) = [line for line in lines if line.startswith(beginning)]
    return found


@pytest.fixture
def services(request: pytest.FixtureRequest) -> dict[str, str]:
    """Database and object store, by what a test's parameter calls them."""
    if request.param.startswith("SQLite"):
        return {"DATABASE": "", "OBJECTS": ""}
    server, store = request.getfixturevalue("postgresql"), request.getfixturevalue("s3")
    return {"DATABASE": server.url, "OBJECTS": store.url, **store.environment}


@pytest.mark.parametrize("services", ["SQLite and a folder", "PostgreSQL and S3"], indirect=True)
def test_the_guide_can_be_followed_to_its_end(tmp_path: Path, services: dict[str, str]) -> None:
    api, link = choose(2)
    (tmp_path / "share").mkdir()
    variables = {
        "GATEWAY": HOST, "LISTEN": HOST, "API": str(api), "LINK": str(link),
        "SANDBOX": best_available(), "SHARE": str(tmp_path / "share"),
        "EXAMPLES": str(ROOT / "examples"), "TOP": str(tmp_path), "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", **services,
    }  # fmt: skip
    code, said = follow(tmp_path, variables)
    assert code == 0, said[-4000:]
    assert (tmp_path / "alice" / "trained" / "model.safetensors").exists(), said[-4000:]
    logs = [tmp_path / "gateway" / "gateway.log", tmp_path / "enclave" / "enclave.log",
            *tmp_path.glob("hospital-*/site.log")]  # fmt: skip
    told = {log: [json.loads(line) for line in log.read_text().splitlines()] for log in logs}
    assert len(told) == 4
    for log, lines in told.items():
        assert any("job" in line for line in lines), f"{log} tells of the job by its id"
    kinds = {line.get("kind") for lines in told.values() for line in lines}
    assert {
        "peer.enrolled", "token.created", "token.revoked", "peer.revoked", "link.opened",
        "job.submitted", "job.transition", "session.opened", "enclave.appraised", "job.ended",
    } <= kinds  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_the_database_is_made_as_printed(postgresql: Any) -> None:
    """By the user that a distribution's PostgreSQL runs as, with a password twice at the prompt."""
    postgresql.own("postgres")
    for beginning in ("runuser -u postgres -- createuser", "runuser -u postgres -- createdb"):
        command = system(beginning).replace("fedgate", "fedgate_printed")
        done = subprocess.run(
            ["bash", "-c", command], env=postgresql.environment, input="PASSWORD\nPASSWORD\n",
            capture_output=True, text=True, timeout=60, check=False, start_new_session=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    url = postgresql.url.replace("//fedgate@/postgres", "//fedgate_printed@/fedgate_printed")
    database = Database.at(url)
    database.migrate()
    database.check()
    database.close()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_the_unit_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```ini\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    program = Path(sys.executable).with_name("fedgate")
    assert "/opt/fedgate/bin/fedgate gateway" in text
    unit = tmp_path / "fedgate.service"
    unit.write_text(text.replace("/opt/fedgate/bin/fedgate", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "fedgate" in line]
    assert (done.returncode, told) == (0, []), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_the_user_is_made_as_printed_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Not on this machine: in files that look like its own."""
    for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        shutil.copy(f"/etc/{name}", tmp_path / "etc" / name)
    command = system("useradd ").replace("useradd ", f"useradd --prefix {tmp_path} ")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = [
        line for line in (tmp_path / "etc/passwd").read_text().splitlines() if "fedgate" in line
    ]
    assert line.endswith(":/var/lib/fedgate:/usr/sbin/nologin")
