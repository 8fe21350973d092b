"""Jobs of our own, run by real child processes, and by FLARE's simulator for comparison."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fedgate_gateway.child.local import LocalRun, LocalSite, run_locally
from fedgate_gateway.config import Runtime

JOBS = Path(__file__).parent / "jobs"
Run = Callable[..., LocalRun]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """``run(job, sites=3, dies={"site-2": 2}, env={"site-1": {...}}, frames=[...])``."""

    def run_job(
        job: str | Path,
        *,
        sites: int = 2,
        dies: Mapping[str, int] | None = None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        frames: tuple[str, ...] = (),
        sandbox: str = "process",
        timeout: float = 60,
    ) -> LocalRun:
        work = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        work.mkdir()
        names = [f"site-{i + 1}" for i in range(sites)]
        local = [
            LocalSite(n, environment=(env or {}).get(n, {}), dies_at=(dies or {}).get(n, 0))
            for n in names
        ]
        source = JOBS / job if isinstance(job, str) else job
        runtime = Runtime(sandbox=sandbox)
        return run_locally(source, local, work, timeout=timeout, frames=frames, runtime=runtime)

    return run_job


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that FLARE's own simulator leaves after running a job on two sites."""
    done: dict[str, Path] = {}

    def simulate(job: str) -> Path:
        if job not in done:
            work = tmp_path_factory.mktemp(f"simulator-{job}")
            subprocess.run(
                [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator",
                 str(JOBS / job), "-w", str(work), "-n", "2", "-t", "2"],
                check=True, timeout=110, cwd=work, capture_output=True,
            )  # fmt: skip
            done[job] = work / "server" / "simulate_job"
        return done[job]

    return simulate


@pytest.fixture
def broken_job(tmp_path: Path) -> Path:
    """A job whose server side names a class in a module that does not exist."""
    import shutil

    target = tmp_path / "broken"
    shutil.copytree(JOBS / "fedavg", target)
    config = target / "app/config/config_fed_server.json"
    config.write_text(
        config.read_text().replace("nvflare.app_common.np.np_model_persistor", "no_such_module")
    )
    return target
