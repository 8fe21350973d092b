"""Flower as it comes: a SuperLink, two SuperNodes, `flwr run`; without TLS, which favours it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.processes import TooSlow, free_ports, listening, program, tail, wait_for
from benchmarks.sampling import Watch
from benchmarks.work import SITES, Run, Work

SECONDS = 240
_BIN = Path(sys.executable).parent


def role(_root: str, process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return "other"
    for needle, name in (
        ("flwr-serverapp", "coordinator"),
        ("flwr-clientapp", "worker"),
        ("superexec", "executor"),
        ("flower-superlink", "server"),
        ("flower-supernode", "site"),
    ):
        if needle in command:
            return name
    return "other"


def run(work: Work, folder: Path) -> Run:
    """Raises :class:`TooSlow` with the logs when the run does not end in time."""
    app = work.prepare(folder)
    server = folder / "server"
    server.mkdir(parents=True)
    port, *nodes = free_ports(1 + SITES)
    home = folder / "flwr-home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "bench"\n\n[superlink.bench]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    env = {"FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0", "FLWR_UPDATE_CHECK": "0"}
    # apps are started by name, found next to this interpreter
    env["PATH"] = os.pathsep.join([str(_BIN), os.environ.get("PATH", "")])
    with ExitStack() as stack:
        link = stack.enter_context(
            program(
                [
                    str(_BIN / "flower-superlink"), "--insecure",
                    "--disable-runtime-dependency-installation",
                    "--host", "127.0.0.1", "--port", str(port),
                ],
                cwd=server, log=folder / "superlink.log", env=env,
            )
        )  # fmt: skip
        pids = {"server": link.pid}
        wait_for("flower-superlink", lambda: listening(port), 60)
        for index, own in enumerate(nodes):
            node = stack.enter_context(
                program(
                    [
                        str(_BIN / "flower-supernode"), "--insecure",
                        "--superlink", f"127.0.0.1:{port}",
                        "--host", "127.0.0.1", "--port", str(own),
                        "--node-config", f"partition-id={index}",
                    ],
                    cwd=folder / f"site-{index + 1}", log=folder / f"supernode-{index}.log",
                    env=env,
                )
            )  # fmt: skip
            pids[f"site-{index + 1}"] = node.pid
        report = server / "rounds.json"
        with Watch(pids, role) as usage:
            began = time.monotonic()
            subprocess.run(
                [str(_BIN / "flwr"), "run", str(app), "bench"],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                check=True,
                capture_output=True,
                timeout=60,
            )
            try:
                wait_for("native Flower", lambda: _written(report), SECONDS)
            except TooSlow as error:
                raise TooSlow(f"{error}\n{tail(folder / 'superlink.log')}") from None
            wall = time.monotonic() - began
    found = Run.read(report, wall)
    found.observe(usage)
    return found


def _written(report: Path) -> bool:
    return report.is_file() and report.read_text().endswith("}")
