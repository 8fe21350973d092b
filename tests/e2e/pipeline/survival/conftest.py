"""The same training for each framework, in its own way, and what model it must give."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate.bundle import pack_files

WORKLOADS = Path(__file__).parent / "workloads"
_APP = "nvflare.app_common"
_GENERATOR = f"{_APP}.shareablegenerators.full_model_shareable_generator"
_AGGREGATOR = f"{_APP}.aggregators.intime_accumulate_model_aggregator"
_PYPROJECT = """
[project]
name = "survivor"
version = "1.0.0"
dependencies = ["flwr>=1.41,<2", "numpy"]
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "survivor.flower_server:app"
clientapp = "survivor.flower_client:app"
[tool.flwr.app.config]
num-server-rounds = {rounds}
pause = {pause}
hold = "{hold}"
"""


def _read(name: str) -> bytes:
    return (WORKLOADS / f"{name}.py").read_bytes()


def plain(rounds: int, pause: float, hold: str) -> bytes:
    toml = f'name = "survivor"\nmodule = "work.py"\nrounds = {rounds}\n'
    toml += f'[config]\npause = {pause}\nhold = "{hold}"\n'
    work = _read("arithmetic") + _read("plain_work").replace(b"from arithmetic", b"# from")
    return pack_files({"plain.toml": toml.encode(), "work.py": work})


def flower(rounds: int, pause: float, hold: str) -> bytes:
    project = _PYPROJECT.format(rounds=rounds, pause=pause, hold=hold)
    names = ("arithmetic", "flower_server", "flower_client")
    files = {f"survivor/{name}.py": _read(name) for name in names}
    return pack_files({"pyproject.toml": project.encode(), "survivor/__init__.py": b"", **files})


def flare(rounds: int, pause: float, hold: str) -> bytes:
    """ScatterAndGather, which waits ten seconds for a third site once it has two."""
    meta = {
        "name": "survivor", "resource_spec": {}, "min_clients": 2, "deploy_map": {"app": ["@ALL"]},
    }  # fmt: skip
    workflow = {
        "id": "sag", "path": f"{_APP}.workflows.scatter_and_gather.ScatterAndGather",
        "args": {
            "min_clients": 2, "num_rounds": rounds, "start_round": 0,
            "wait_time_after_min_received": 10, "aggregator_id": "aggregator",
            "persistor_id": "persistor", "shareable_generator_id": "generator",
            "train_task_name": "train", "train_timeout": 0,
        },
    }  # fmt: skip
    model = [float(n) for n in range(64)]
    components = {
        "persistor": (f"{_APP}.np.np_model_persistor.NPModelPersistor", {"model": model}),
        "generator": (
            f"{_GENERATOR}.FullModelShareableGenerator", {},
        ),
        "aggregator": (
            f"{_AGGREGATOR}.InTimeAccumulateWeightedAggregator",
            {"expected_data_kind": "WEIGHTS"},
        ),
    }  # fmt: skip
    filters: dict[str, Any] = {"task_data_filters": [], "task_result_filters": []}
    executor = {"path": "flare_executor.Trainer", "args": {"pause": pause, "hold": hold}}
    configs = {
        "server": {"workflows": [workflow], "components": [
            {"id": name, "path": path, "args": args} for name, (path, args) in components.items()
        ]},
        "client": {"executors": [{"tasks": ["train"], "executor": executor}], "components": []},
    }  # fmt: skip
    files = {
        f"app/config/config_fed_{role}.json": {"format_version": 2, **filters, **config}
        for role, config in configs.items()
    }
    told = {name: json.dumps(data).encode() for name, data in {"meta.json": meta, **files}.items()}
    code = {f"app/custom/{name}.py": _read(name) for name in ("arithmetic", "flare_executor")}
    return pack_files({**told, **code})


@pytest.fixture(scope="session")
def workloads() -> dict[str, Callable[[int, float, str], bytes]]:
    """Framework -> ``(rounds, seconds of a task, file that the first ones wait for) -> bundle``."""
    return {"plain": plain, "Flower": flower, "FLARE": flare}


@pytest.fixture(scope="session")
def model_of() -> Callable[[Sequence[Sequence[int]]], np.ndarray[Any, Any]]:
    """The weights that a training has whose rounds averaged these sites."""
    space: dict[str, Any] = {}
    exec(_read("arithmetic"), space)
    made: Callable[[Sequence[Sequence[int]]], np.ndarray[Any, Any]] = space["model_of"]
    return made
