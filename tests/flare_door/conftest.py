"""One real door in front of one real federation for all tests of a module, and people at it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.leftovers import leftovers
from fedgate_gateway.dev.program import Program

JOB = Path(__file__).parents[1] / "flare" / "jobs" / "fedavg"
BIN = Path(sys.executable).parent
ADA, BOB = "ada@example.org", "bob@example.org"
SECONDS = 120


class Door:
    """`fedgate flare front-door` as a process, with two kits."""

    def __init__(self, federation: Federation, folder: Path) -> None:
        self.federation = federation
        self.data, self.kits = folder / "data", folder / "kits"
        self.program = Program("door", (), folder / "door.log")

    def start(self, *options: str) -> None:
        arguments = [
            "flare", "front-door", "--data", self.data, "--kit", self.kits, "--port", "0",
            "--admin", ADA, "--admin", BOB, "--profile", self.federation.profile_path, *options,
        ]  # fmt: skip
        self.program = Program("door", list(map(str, arguments)), self.program.log)
        self.program.log.unlink(missing_ok=True)
        self.program.start()
        self.wait(lambda: "open at" in self.program.log.read_text(), "the door to open")

    @property
    def port(self) -> int:
        return int(json.loads((self.data / "door.json").read_text())["port"])

    def session(self, who: str) -> Session:
        return new_secure_session(who, str(self.kits / who), timeout=SECONDS)

    def wait(self, true: Callable[[], bool], what: str) -> None:
        wait(true, what)

    def wait_until_running(self, session: Session, job: str) -> None:
        self.wait(lambda: session.get_job_meta(job)["status"] == "RUNNING", "the job to run")

    def gateway_job(self, meta: dict[str, Any]) -> dict[str, Any]:
        return self.federation.client.job(meta["fedgate"]["job"])["job"]


def wait(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until, f"waited too long for {what}"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def federation(
    tmp_path_factory: pytest.TempPathFactory, quick_programs: Callable[[], Any]
) -> Iterator[Federation]:
    """Two sites, for doors and for who needs none."""
    folder = tmp_path_factory.mktemp("federation")
    made = Federation(folder, sites=2, adapters=("flare",), examples=False)
    with quick_programs(), made:
        yield made
    wait(lambda: leftovers(folder) == {}, "everything to end")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, federation: Federation) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("door")
    made = Door(federation, folder)
    made.start("--site-names", "clinic-1=site-1,clinic-2=site-2")
    yield made
    made.program.stop()
    wait(lambda: leftovers(folder) == {}, "the door to end")


@pytest.fixture(scope="module")
def ada(door: Door) -> Iterator[Session]:
    session = door.session(ADA)
    yield session
    session.close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders to submit: FLARE's tools sign them in place."""
    folder = tmp_path_factory.mktemp("jobs")
    made = {}
    for name in ("quick", "endless", "lonely", "broken", "elsewhere", "clinics"):
        made[name] = shutil.copytree(JOB, folder / name)
    _make_endless(made["endless"] / "app")
    meta = made["lonely"] / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "min_clients": 1,
                                "deploy_map": {"app": ["server", "site-1"]}}))  # fmt: skip
    meta = made["elsewhere"] / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "mandatory_clients": ["site-9"]}))
    meta = made["clinics"] / "meta.json"
    named = {"mandatory_clients": ["clinic-2"],
             "deploy_map": {"app": ["server", "clinic-1", "clinic-2"]}}  # fmt: skip
    meta.write_text(json.dumps({**json.loads(meta.read_text()), **named}))
    (made["broken"] / "app/config/config_fed_client.json").write_text("{}")
    return made


def _make_endless(app: Path) -> None:
    """Many rounds of some tenths of a second: no load for the tests around it."""
    path = app / "config/config_fed_server.json"
    config = json.loads(path.read_text())
    config["workflows"][0]["args"]["num_rounds"] = 1_000_000
    path.write_text(json.dumps(config))
    script = app / "custom/client.py"
    slow = script.read_text().replace(
        "        flare.send(", "        time.sleep(0.3)\n        flare.send("
    )
    script.write_text("import time\n" + slow)


@pytest.fixture(scope="module")
def bob(door: Door) -> Iterator[Session]:
    session = door.session(BOB)
    yield session
    session.close()


@dataclass
class Nvflare:
    """A person's terminal."""

    command: Callable[..., Any]

    def __call__(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """What a command answers, in JSON."""
        ran = self.command("--format", "json", *arguments)
        assert ran.code == code, ran.out + ran.err
        return json.loads(ran.out)

    def together(self, *commands: str) -> list[dict[str, Any]]:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda command: self(*command.split()), commands))


@pytest.fixture(scope="module")
def nvflare(
    door: Door, tmp_path_factory: pytest.TempPathFactory, warm_command: Callable[..., Any]
) -> Nvflare:
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "HOME": str(home), "NVFLARE_STARTUP_KIT_DIR": str(door.kits / ADA)}
    return Nvflare(warm_command(BIN / "nvflare", home, env))
