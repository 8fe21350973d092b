"""``recipe.execute(FedgateEnv(...))``: a FLARE recipe through a Fedgate gateway.

It speaks to the gateway through the ``fedgate`` command, with a profile like anybody else: TLS to
the gateway's own CA, idempotent submission, and outputs that only the profile's key opens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import ExecEnv

from fedgate.errors import (
    FedgateError,
    InvalidBundle,
    Unavailable,
    WorkloadFailed,
    error_from_dict,
)
from fedgate.job import JobState
from fedgate.task import Scalar
from fedgate_flare.run_status import STATUS

_COMMAND = ("-m", "fedgate_gateway.cli.main")
#: Exit code of a command that worked, but whose job did not succeed.
_JOB_FAILED = (1, 75, 77)


class FedgateEnv(ExecEnv):  # type: ignore[misc]
    """Where a recipe runs: the sites of a Fedgate project.

    ``profile``: a ``profile.toml``; by default the one that the ``fedgate`` command uses.
    ``sites`` and ``datasets``: names; no sites means those that the job names, or all.
    ``site_names``: what the job calls a site -> what the project calls it.
    ``site_files``: ask for files that the clients leave at their sites, too.
    ``output``: folder that results are written to, one folder below it for each job.
    ``wait``: ``execute`` returns when the job has ended and raises where it has failed, as with
    FLARE's ``SimEnv``; else it returns once the job is handed in, as with its ``ProdEnv``.
    Every method raises :class:`FedgateError` with the gateway's own reason.
    """

    def __init__(
        self,
        profile: str | Path | None = None,
        *,
        project: str = "",
        sites: Sequence[str] = (),
        site_names: Mapping[str, str] | None = None,
        datasets: Sequence[str] = (),
        min_sites: int | None = None,
        name: str = "",
        config: Mapping[str, Scalar] | None = None,
        site_files: bool = False,
        output: str | Path = "fedgate-results",
        wait: bool = False,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(extra)
        self._profile = profile
        self._output = Path(output)
        self._wait = wait
        self._options = [
            option
            for key, value in {
                "--project": project,
                "--sites": ",".join(sites),
                "--site-names": ",".join(f"{k}={v}" for k, v in (site_names or {}).items()),
                "--datasets": ",".join(datasets),
                "--min-sites": "" if min_sites is None else str(min_sites),
                "--name": name,
            }.items()
            if value
            for option in (key, value)
        ]
        for key, setting in (config or {}).items():
            self._options += ["--config", f"{key}={setting}"]
        if site_files:
            self._options.append("--site-files")

    def deploy(self, job: FedJob) -> str:
        """Export the job, hand it in, and return the gateway's id of it."""
        with tempfile.TemporaryDirectory(prefix="fedgate-") as folder:
            job.export_job(folder)
            found = [path for path in Path(folder).iterdir() if path.is_dir()]
            if len(found) != 1:
                raise InvalidBundle("the recipe did not export one job", why=str(found)[:200])
            told = self._run("submit", found[0], *self._options)
        job_id = str(told["job"]["id"])
        if self._wait:
            self._run("watch", job_id, ended=_JOB_FAILED)
            self._require_success(job_id)
        return job_id

    def get_job_status(self, job_id: str) -> str | None:
        """The status in FLARE's words, as ``FINISHED:COMPLETED``."""
        return str(STATUS[self._state(job_id)].value)

    def abort_job(self, job_id: str) -> None:
        self._run("cancel", job_id)

    def get_job_result(self, job_id: str, timeout: float = 0.0) -> str | None:
        """Wait for the end and fetch what was released; the folder, or None if it has not ended.

        A job that failed has no model, but its folder holds the log where the project releases it.
        """
        try:
            self._run("watch", job_id, timeout=timeout or None, ended=_JOB_FAILED)
        except subprocess.TimeoutExpired:
            return None
        job = self._job(job_id)
        if not JobState(job["state"]).final:
            return None
        if job["state"] != JobState.SUCCEEDED:  # a script that only prints the folder shows it, too
            print(f"fedgate: the job {job_id} {_how(job)}", file=sys.stderr, flush=True)
        folder = self._output / job_id
        try:
            self._run("result", job_id, "--output", folder, "--force")
        except FedgateError as error:
            if error.code != "not-found":
                raise
        if not folder.is_dir():
            return None
        lay_out(folder)
        return str(folder.resolve())

    def _require_success(self, job_id: str) -> None:
        job = self._job(job_id)
        if job["state"] != JobState.SUCCEEDED:
            raise WorkloadFailed(
                f"the job {job_id} {_how(job)}",
                remedy=f"`fedgate job logs {job_id}` shows what its project lets out of its log",
            )

    def _job(self, job_id: str) -> dict[str, Any]:
        return dict(self._run("show", job_id)["job"])

    def _state(self, job_id: str) -> JobState:
        return JobState(self._job(job_id)["state"])

    def _run(
        self, *arguments: object, timeout: float | None = None, ended: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        """One ``fedgate job`` command; ``ended``: exit codes that speak of the job, not of it."""
        options = ["--format", "json"]
        if self._profile is not None:
            options += ["--profile", str(self._profile)]
        ran = subprocess.run(
            [sys.executable, *_COMMAND, "job", *map(str, arguments), *options],
            capture_output=True, text=True, check=False, timeout=timeout,
            stdin=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        if ran.returncode and ran.returncode not in ended:
            raise _error(ran)
        return _last_object(ran.stdout)


def _how(job: Mapping[str, Any]) -> str:
    return f"ended as {job['state']}" + (f": {job['reason']}" if job["reason"] else "")


def lay_out(folder: Path) -> None:
    """Let what server and clients wrote be found where FLARE's simulator and server leave it."""
    for site in sorted((folder / "sites").glob("*/")):  # as the simulator: site-1/simulate_job
        own = folder / site.name
        if not own.exists():
            own.mkdir()
            (own / "simulate_job").symlink_to(f"../sites/{site.name}", target_is_directory=True)
    artifacts = folder / "artifacts"
    if not artifacts.is_dir():
        return
    (folder / "server").mkdir(exist_ok=True)
    for place, target in (
        (folder / "workspace", "artifacts"),
        (folder / "server" / "simulate_job", "../artifacts"),
    ):
        if not place.exists():
            place.symlink_to(target, target_is_directory=True)


def _error(ran: subprocess.CompletedProcess[str]) -> FedgateError:
    """What the command said, as an exception."""
    for text in (ran.stderr, ran.stdout):
        told = _last_object(text)
        problem = told.get("error", told)
        if isinstance(problem, dict) and "code" in problem:
            return error_from_dict(problem)
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    return Unavailable("the fedgate command failed", why=" ".join(lines[-3:])[:1000])


def _last_object(text: str) -> dict[str, Any]:
    """The JSON object that a command printed: all of its output, or its last line."""
    for part in (text, text.strip().rsplit("\n", 1)[-1]):
        try:
            found = json.loads(part)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}
