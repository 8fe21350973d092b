"""FLARE as it comes: a provisioned POC workspace, server and two clients, a job by the FLARE API.

What `nvflare poc prepare` makes and `nvflare poc start` runs, with a port of the system's choice
and with processes that we start ourselves, so that we know whom to end.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.processes import TooSlow, free_ports, listening, program, tail, wait_for
from benchmarks.sampling import Watch
from benchmarks.work import SITES, Run, Work

SECONDS = 240
ADMIN = "admin@nvidia.com"
_PROJECT = """\
api_version: 3
name: bench
description: two clients on loopback
participants:
  - {{name: server, type: server, org: nvidia, default_host: localhost, fed_learn_port: {port}}}
  - {{name: admin@nvidia.com, type: admin, org: nvidia, role: project_admin}}
{clients}
builders:
  - path: nvflare.lighter.impl.workspace.WorkspaceBuilder
    args: {{template_file: [master_template.yml, aws_template.yml, azure_template.yml]}}
  - path: nvflare.lighter.impl.static_file.StaticFileBuilder
    args: {{config_folder: config}}
  - path: nvflare.lighter.impl.cert.CertBuilder
  - path: nvflare.lighter.impl.signature.SignatureBuilder
"""


def role(_root: str, process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return "other"
    for needle, name in (
        ("runner_process", "coordinator"),
        ("server_train", "server"),
        ("worker_process", "worker"),
        ("client_train", "site"),
    ):
        if needle in command:
            return name
    return "other"


def provision(folder: Path, port: int) -> Path:
    """Startup kits of a server, an administrator and the clients; returns their folder."""
    clients = "\n".join(
        f"  - {{name: site-{i}, type: client, org: nvidia}}" for i in range(1, SITES + 1)
    )
    (folder / "project.yml").write_text(_PROJECT.format(port=port, clients=clients))
    home = folder / "home"  # FLARE keeps a file in the home folder
    home.mkdir()
    subprocess.run(
        [
            str(Path(sys.executable).parent / "nvflare"), "provision",
            "-p", str(folder / "project.yml"), "-w", str(folder / "workspace"),
        ],
        cwd=folder, env={**os.environ, "HOME": str(home)}, stdin=subprocess.DEVNULL,
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return folder / "workspace" / "bench" / "prod_00"


@contextlib.contextmanager
def participant(kit: Path, module: str, config: str, *more: str) -> Iterator[int]:
    """What a kit's sub_start.sh runs, without its restarting daemon."""
    command = [
        sys.executable, "-u", "-m", f"nvflare.private.fed.app.{module}", "-m", str(kit),
        "-s", config, "--set", "secure_train=true", *more, "org=nvidia", "config_folder=config",
    ]  # fmt: skip
    env = {"PYTHONPATH": str(kit.parent / "local" / "custom")}
    with program(command, cwd=kit, log=kit / "bench.log", env=env) as process:
        yield process.pid


def run(work: Work, folder: Path) -> Run:
    """Raises :class:`TooSlow` with the logs when the job does not end in time."""
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    job = work.prepare(folder)
    (port,) = free_ports(1)
    kits = provision(folder, port)
    with ExitStack() as stack:
        pids = {
            "server": stack.enter_context(
                participant(kits / "server", "server.server_train", "fed_server.json")
            )
        }
        wait_for("FLARE's server", lambda: listening(port), 60)
        for index in range(1, SITES + 1):
            name = f"site-{index}"
            pids[name] = stack.enter_context(
                participant(kits / name, "client.client_train", "fed_client.json", f"uid={name}")
            )
        with contextlib.redirect_stdout(io.StringIO()):
            session = new_secure_session(ADMIN, str(kits / ADMIN), timeout=60)
            stack.callback(session.close)
            wait_for(
                "FLARE's clients",
                lambda: len(session.get_system_info().client_info) == SITES,
                60,
                every=1,
            )
            with Watch(pids, role) as usage:
                began = time.monotonic()
                job_id = session.submit_job(str(job))
                report = kits / "server" / job_id / "rounds.json"
                try:
                    wait_for("native FLARE", lambda: _ended(session, job_id), SECONDS, every=0.5)
                except TooSlow as error:
                    raise TooSlow(f"{error}\n{tail(kits / 'server' / 'bench.log')}") from None
                wall = time.monotonic() - began
            if not report.is_file():
                result = Path(session.download_job_result(job_id))
                (report,) = [*result.rglob("rounds.json")] or [report]
    found = Run.read(report, wall)
    found.observe(usage)
    return found


def _ended(session: object, job_id: str) -> bool:
    status = str(session.get_job_meta(job_id).get("status", ""))  # type: ignore[attr-defined]
    if status.startswith("FINISHED") and status != "FINISHED:COMPLETED":
        raise RuntimeError(f"native FLARE: the job is {status}")
    return status == "FINISHED:COMPLETED"
