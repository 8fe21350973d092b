"""The examples' own data: made by the examples' own scripts, in their own processes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedgate.errors import NotFound, WorkloadFailed
from fedgate_gateway.dev.datasets import DatasetTemplate

_SECONDS = 120
DATASETS = (
    DatasetTemplate(
        "breast-cancer",
        "data/{site}/breast_cancer.csv",
        settings={"data-path": "{path}"},
    ),
    DatasetTemplate("digits", "data/{site}/digits.npz", environment={"DIGITS_DATA": "{path}"}),
)


def guard(offered: Sequence[DatasetTemplate]) -> dict[str, Any]:
    """What a site's guard must let out for the examples: breast-cancer asks each for sums."""
    return {"query": {"arrays": "unchecked"}} if DATASETS[0] in offered else {}


def front_door_datasets(offered: Sequence[DatasetTemplate]) -> list[str]:
    """What a run of the command `flwr` gets unless it says more: not the examples' beside others,
    whose settings would take the place of those.
    """
    own = [dataset.name for dataset in offered if dataset not in DATASETS]
    return own or [dataset.name for dataset in offered if dataset == DATASETS[0]]


def folder() -> Path:
    """Where the examples are: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve()
    for place in (here.parents[1] / "examples", here.parents[3] / "examples"):
        if (place / "policies").is_dir():
            return place
    raise NotFound(
        "the examples are not installed",
        why="neither the package nor a checkout around it holds them",
        remedy="run from a checkout, or install the distribution again",
    )


def available() -> bool:
    """Can the examples' data be made here?"""
    return importlib.util.find_spec("sklearn") is not None


class DataMaking:
    """Scripts that write the data of all sites below ``data``; they run side by side."""

    def __init__(self, data: Path, sites: Sequence[str]) -> None:
        examples = folder()
        commands = (
            [examples / "flower-breast-cancer" / "make_data.py", data, *sites],
            [examples / "flare-digits" / "split.py", data, "--sites", str(len(sites))],
        )
        self._running = [
            subprocess.Popen(
                [sys.executable, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for command in commands
        ]

    def finish(self) -> None:
        """Wait until all is written; raises :class:`WorkloadFailed` with what a script said."""
        for script in self._running:
            try:
                told, _ = script.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                self.stop()
                raise WorkloadFailed("making the examples' data takes too long") from None
            if script.returncode != 0:
                raise WorkloadFailed(
                    "the examples' data could not be made",
                    why=told.strip()[-500:],
                    remedy="or go without it: --no-examples",
                )

    def stop(self) -> None:
        for script in self._running:
            if script.poll() is None:
                script.kill()
                script.wait()
