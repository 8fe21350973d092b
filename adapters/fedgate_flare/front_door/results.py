"""What a job released, laid out as FLARE's tools expect a job's workspace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedgate.side_door import Submitter


@dataclass(frozen=True)
class Found:
    """``workspace`` is to be kept; ``log`` is what the job printed, if it was released."""

    workspace: Path
    log: Path | None


#: Where `nvflare job download` looks up the model (nvflare/tool/job/job_cli.py).
_MANIFEST = "artifact_manifest.json"


@contextmanager
def collect(submitter: Submitter, job: str, scratch: Path) -> Iterator[Found]:
    """Fetch and open everything below ``scratch``, which is removed afterwards.

    Files that the server side wrote lie where FLARE's server would have left them, the model
    beside them as ``model.safetensors``, and what a site left as ``sites/NAME``.
    """
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        released = submitter.fetch(job, scratch / "fetched")
        workspace = scratch / "workspace"
        workspace.mkdir(parents=True)
        log: Path | None = None
        for item in released:
            if item.kind == "artifacts":
                shutil.copytree(item.path, workspace, dirs_exist_ok=True)
            elif item.kind == "site_files":
                (workspace / "sites").mkdir(exist_ok=True)
                item.path.replace(workspace / "sites" / item.path.name)
            elif item.kind == "log":
                log = item.path
            elif item.kind == "metrics":
                item.path.replace(workspace / item.path.name)
        for item in released:  # after the artifacts: ours is the name
            if item.kind == "model":
                item.path.replace(workspace / item.path.name)
                _point_at(workspace, item.path.name)
        yield Found(workspace, log)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _point_at(workspace: Path, model: str) -> None:
    """Unless the job says itself which of its files is the model."""
    manifest = workspace / _MANIFEST
    if not manifest.exists():
        told = {"schema_version": "1", "artifacts": {"global_model": model}}
        manifest.write_text(json.dumps(told))
