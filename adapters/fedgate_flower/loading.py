"""Loading an app in its child process: its configuration, its identity, and its code."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

from fedgate.adapter import Workload
from fedgate.bundle import BundleTree
from fedgate.job import SERIES
from fedgate_flower import identity
from fedgate_flower._flwr_private import borrow_in_aggregation, load_app, save_arrays_with_one_copy
from fedgate_flower.project import PYPROJECT, FlowerProject, read_project
from fedgate_flower.waiting import PREFIX


@dataclass(frozen=True)
class LoadedProject:
    """An app's project, and what follows from it for this job."""

    project: FlowerProject
    run_id: int
    series_id: int
    run_config: dict[str, Any]
    nodes: dict[str, int]  # site -> node id


def load_project(workload: Workload) -> LoadedProject:
    """Read the app's ``pyproject.toml`` and settle its run configuration.

    Raises :class:`~fedgate.errors.InvalidConfig` for overrides that the app does not know.
    """
    files = {
        path.relative_to(workload.root).as_posix(): b"" for path in workload.root.rglob("*.py")
    }  # only their names matter here
    files[PYPROJECT] = (workload.root / PYPROJECT).read_bytes()
    project = read_project(BundleTree(files))
    overrides = {k: v for k, v in workload.config.items() if not k.startswith(PREFIX)}
    return LoadedProject(
        project=project,
        run_id=identity.run_id(workload.job),
        series_id=identity.series_id(str(workload.config.get(SERIES, "")), workload.job),
        run_config=project.run_config(overrides),
        nodes=identity.node_ids(workload.job, workload.sites),
    )


def load_object(reference: str, workload: Workload, error: type[Exception]) -> Any:
    """Import what ``module:attribute`` names in the workload; raises what its import raises."""
    save_arrays_with_one_copy()
    app = load_app(reference, error, workload.root)
    from fedgate_flower.arrays import adopt  # needs numpy and flwr, which inspection does not

    borrow_in_aggregation(adopt)
    # Everything loaded so far lives as long as the process; collections need not look at it.
    gc.collect()
    gc.freeze()
    return app
