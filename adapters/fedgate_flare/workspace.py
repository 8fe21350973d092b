"""What FLARE's deployer does for one participant: a workspace with its app, laid out on disk.

The workspace lies in the job's scratch folder. Only the app meant for this participant is there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgate.adapter import Workload
from fedgate.errors import InvalidBundle, WorkloadFailed
from fedgate_flare.app_configs import NAMES, find_config, with_own_scripts
from fedgate_flare.config_files import parse_config
from fedgate_flare.job_folder import META_NAMES, SERVER, JobMeta, locate, read_meta

_FOLDER = ".flare"
#: Of the files by which an attached trainer is reached: seconds between looks, bytes until one is
#: replaced by the next.
_POLL, _LOG_BYTES = 0.05, 256 << 20
_KEEP = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True)
class Deployed:
    """A participant's part of a job on disk."""

    participant: str
    job_id: str  # the job's name towards FLARE
    meta: JobMeta
    root: Path  # FLARE's workspace
    run: Path  # the job's folder in it
    app: Path  # the app's folder in that

    def config(self, role: str) -> dict[str, Any]:
        """The app's configuration for "server" or "client"."""
        path = self.app / "config" / f"{NAMES[role]}.json"
        return parse_config(path.read_text("utf-8"), path.name)

    @property
    def custom(self) -> Path:
        return self.app / "custom"


def deploy(workload: Workload, participant: str) -> Deployed:
    """Lay out ``participant``'s app ("server" or a site); raises when the job has none for it."""
    folder, meta = _read(workload.root)
    _check_roster(meta, workload.sites)
    app = meta.app_of(participant)
    if app is None:
        raise InvalidBundle(
            f"the job has no app for {participant!r}",
            why="its deploy_map names: " + ", ".join(meta.sites),
            remedy="run the job on those sites, or deploy the app to @ALL",
        )
    # The prefix keeps the run's folder apart from the workspace's own ("local", "startup").
    job_id = "job-" + _KEEP.sub("_", workload.job)[:64]
    root = workload.scratch / _FOLDER
    deployed = Deployed(
        participant, job_id, meta, root, root / job_id, root / job_id / f"app_{participant}"
    )
    for path in (root / "startup", root / "local", deployed.run):
        path.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / app, deployed.app, copy_function=_copy, dirs_exist_ok=True)
    raw = dict(meta.raw) | {
        "job_id": job_id,
        "min_clients": meta.min_clients,
        "mandatory_clients": list(meta.mandatory),
        "job_clients": [_client(site) for site in workload.sites],
        # The digest that people approved covers the code, and each site's policy has seen the list
        # of classes: FLARE's own list, for jobs without code, has no say besides.
        "byoc": True,
    }
    (deployed.run / "meta.json").write_text(json.dumps(raw))
    _rewrite_configs(deployed)
    return deployed


def share_with_trainers(deployed: Deployed, folder: Path) -> None:
    """Let FLARE listen in ``folder``, by files alone, for a trainer that attaches to the job."""
    listener = {"root_dir": str(folder), "max_poll_interval": _POLL, "max_log_size": _LOG_BYTES}
    config = {"client_api_attach": {"scheme": "shared-file", "resources": listener}}
    (deployed.root / "local" / "comm_config.json").write_text(json.dumps(config))


def _rewrite_configs(deployed: Deployed) -> None:
    """Put the app's configurations down as plain JSON: FLARE loads what the reviewer saw."""
    paths = [f"app/{p.relative_to(deployed.app).as_posix()}" for p in deployed.app.rglob("*")]
    custom = [p.removeprefix("app/custom/") for p in paths if p.startswith("app/custom/")]
    role = "server" if deployed.participant == SERVER else "client"
    for other in NAMES:
        try:
            found = find_config(paths, "app", other)
        except InvalidBundle:
            if other == role:
                raise
            continue
        path = deployed.app / found.removeprefix("app/")
        config = with_own_scripts(parse_config(path.read_text("utf-8"), found), custom)
        path.unlink()
        path.with_name(f"{NAMES[other]}.json").write_text(json.dumps(config))


def _read(root: Path) -> tuple[Path, JobMeta]:
    tops = [f"{p.name}/{n}" for p in root.iterdir() if p.is_dir() for n in META_NAMES
            if (p / n).is_file()]  # fmt: skip
    near = [p.name for p in root.iterdir() if p.is_file()]
    found = locate([*near, *tops])
    if found is None or not (path := root / found[0] / found[1]).is_file():
        raise InvalidBundle("not a FLARE job", why="there is no meta.json")
    return path.parent, read_meta(path.read_text("utf-8"), found[1])


def _check_roster(meta: JobMeta, sites: tuple[str, ...]) -> None:
    if SERVER in sites:
        raise WorkloadFailed("a site of a FLARE job may not be called 'server'")
    if len(sites) < meta.min_clients:
        raise WorkloadFailed(
            "the job needs more sites",
            why=f"it has {len(sites)}, its min_clients is {meta.min_clients}",
            remedy="run it on more sites, or export it with a smaller min_clients",
        )
    if missing := set(meta.mandatory) - set(sites):
        raise WorkloadFailed("mandatory sites are missing", why=", ".join(sorted(missing)))


def _client(site: str) -> dict[str, object]:
    """A site as FLARE writes it into a job's metadata."""
    from nvflare.apis.client import Client

    described: dict[str, object] = Client(site, "").to_dict()
    return described


def _copy(source: str, target: str) -> str:
    """Copy a file's content; bundles are read-only, but an app may write beside its files."""
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)  # noqa: PTH101 - copytree hands over text
    return target
