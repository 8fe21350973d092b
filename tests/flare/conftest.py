"""Jobs of our own, run by real child processes, and by FLARE's simulator for comparison."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from warm import CHILDREN, Template

from fedgate_gateway.child.local import LocalRun, LocalSite, run_locally
from fedgate_gateway.config import ChildLimits, Runtime

JOBS = Path(__file__).parent / "jobs"
#: Modules of a job's processes; what they import comes with them.
WARM = (
    "fedgate_gateway.child.guardian",
    "fedgate_gateway.child.work",
    "fedgate_flare.coordinator",
    "fedgate_flare.worker",
)
Run = Callable[..., LocalRun]


def run_job(
    work: Path,
    job: str | Path,
    *,
    sites: int = 2,
    dies: Mapping[str, int] | None = None,
    env: Mapping[str, Mapping[str, str]] | None = None,
    frames: tuple[str, ...] = (),
    trainers: Mapping[str, Path] | None = None,
    sandbox: str = "process",
    keep_sealed: bool = False,
    timeout: float = 60,
    limits: Mapping[str, float] = {},
    template: Template | None = None,
) -> LocalRun:
    work.mkdir()
    names = [f"site-{i + 1}" for i in range(sites)]
    local = [
        LocalSite(
            n,
            environment=(env or {}).get(n, {}),
            dies_at=(dies or {}).get(n, 0),
            trainers=(trainers or {}).get(n),
        )
        for n in names
    ]
    source = JOBS / job if isinstance(job, str) else job
    runtime = Runtime(sandbox=sandbox, limits=ChildLimits(**limits))
    with nullcontext() if template is None else template.in_use(CHILDREN):
        return run_locally(
            source, local, work,
            timeout=timeout, frames=frames, runtime=runtime, keep_sealed=keep_sealed,
        )  # fmt: skip


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    """Has imported what most jobs import, so that not each of their processes has to."""
    made = Template(*WARM)
    yield made
    made.close()


@pytest.fixture
def run(tmp_path: Path, template: Template) -> Run:
    """``run(job, sites=3, dies={"site-2": 2}, env={"site-1": {...}}, frames=[...])``."""

    def run_here(job: str | Path, **options: Any) -> LocalRun:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return run_job(folder, job, **{"template": template, **options})

    return run_here


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory, template: Template) -> Run:
    """``run``, but what several tests look at is run once; leave its artifacts as they are."""
    folder, done = tmp_path_factory.mktemp("once"), dict[str, LocalRun]()

    def run_or_recall(job: str, **options: Any) -> LocalRun:
        asked = repr((job, sorted(options.items())))
        if asked not in done:
            done[asked] = run_job(
                folder / f"run-{len(done)}", job, **{"template": template, **options}
            )
        return done[asked]

    return run_or_recall


@pytest.fixture(scope="session")
def simulator(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Callable[[], Path]]]:
    """Starts FLARE's own simulator with a job on two sites.

    The call that it returns waits for the end and gives the folder that the simulator leaves. It
    takes a quarter of a minute, most of which it sleeps: start it before what it is compared to.
    """
    started: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}

    def start(job: str) -> Callable[[], Path]:
        if job not in started:
            work = tmp_path_factory.mktemp(f"simulator-{job}")
            with (work / "output").open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator",
                     str(JOBS / job), "-w", str(work), "-n", "2", "-t", "2"],
                    cwd=work, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            started[job] = process, work
        return lambda: wait(*started[job])

    def wait(process: subprocess.Popen[bytes], work: Path) -> Path:
        assert process.wait(110) == 0, (work / "output").read_text()[-3000:]
        return work / "server" / "simulate_job"

    yield start
    for process, _ in started.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the sites that it started
        process.wait()


@pytest.fixture(scope="session")
def simulated(simulator: Callable[[str], Callable[[], Path]]) -> Callable[[str], Path]:
    """The folder that FLARE's own simulator leaves after running a job on two sites."""
    return lambda job: simulator(job)()


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
