"""Plain Python as a workload: ``plain.toml`` and a module with three functions.

    initial(config) -> {name: array}                                   on the coordinator
    train(model, data, config) -> ({name: array}, examples, {metric: number})      at a site
    evaluate(model, data, config) -> (examples, {metric: number})                  at a site

``guard`` in ``plain.toml`` lists what results need of a site's guard beyond its strict rules, as
``train.arrays = "unchecked"``.

``model`` maps names to numpy arrays, ``data`` maps the site's dataset names to paths.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from fedgate import (
    Adapter,
    BundleTree,
    Capabilities,
    Capability,
    Federation,
    Grade,
    Manifest,
    Model,
    Result,
    Scalar,
    SiteContext,
    Task,
    TaskKind,
    Workload,
)
from fedgate.averaging import weighted_mean
from fedgate.errors import InvalidBundle, WorkloadFailed
from fedgate.guard_rules import read_needs

_FILE = "plain.toml"


class PlainAdapter(Adapter):
    framework = "plain"
    capabilities: ClassVar[Capabilities] = {
        "federated averaging": Capability(Grade.FULL),
        "federated evaluation": Capability(Grade.FULL),
        "client state across rounds": Capability(Grade.UNSUPPORTED, note="functions are stateless"),
    }

    def recognises(self, tree: BundleTree) -> bool:
        return _FILE in tree

    def inspect(self, tree: BundleTree) -> Manifest:
        try:
            data = tomllib.loads(tree.text(_FILE))
        except (ValueError, RecursionError) as error:
            raise InvalidBundle(f"{_FILE} is not valid TOML", why=str(error)) from error
        name, module, rounds = (data.get(k) for k in ("name", "module", "rounds"))
        if not isinstance(name, str) or not isinstance(module, str) or module not in tree:
            raise InvalidBundle(f"{_FILE} must name the workload and its module, a file of it")
        if type(rounds) is not int or not 0 < rounds <= 10_000:
            raise InvalidBundle(f"{_FILE} must say how many rounds to run, from 1 to 10000")
        given = data.get("config", {})
        if not isinstance(given, dict) or not all(map(_is_setting, given.values())):
            raise InvalidBundle(
                f"the config in {_FILE} may hold numbers of 64 bits, strings and booleans only"
            )
        config: dict[str, Scalar] = {**given, "rounds": rounds}
        return Manifest(
            self.framework,
            name,
            config=config,
            entry_points={"worker": module},
            guard=read_needs(data.get("guard", [])),
        )

    def coordinate(self, workload: Workload, federation: Federation) -> None:
        config = _config(workload)
        model = Model.from_numpy(_load(workload).initial(config))
        for number in range(1, int(config["rounds"]) + 1):
            trained = _round(federation, TaskKind.TRAIN, number, model, config)
            updates = [(r.model, float(r.examples or 1)) for r in trained if r.model is not None]
            if not updates:
                raise WorkloadFailed(f"no site returned a model in round {number}")
            model = weighted_mean(updates)
            scores = list(_round(federation, TaskKind.EVALUATE, number, model, config))
            federation.publish(model, round=number, metrics=_mean(scores))

    def worker(self, workload: Workload, site: SiteContext) -> PlainWorker:
        return PlainWorker(_load(workload), {k: str(v) for k, v in site.datasets.items()})


class PlainWorker:
    def __init__(self, module: ModuleType, data: Mapping[str, str]) -> None:
        self._module = module
        self._data = data

    def handle(self, task: Task) -> Result:
        arrays = task.model.numpy() if task.model is not None else {}
        if task.kind is TaskKind.TRAIN:
            trained, examples, metrics = self._module.train(arrays, self._data, dict(task.config))
            return Result(task.id, task.site, Model.from_numpy(trained), metrics, int(examples))
        examples, metrics = self._module.evaluate(arrays, self._data, dict(task.config))
        return Result(task.id, task.site, metrics=metrics, examples=int(examples))

    def close(self) -> None:
        """Nothing is held."""


def _is_setting(value: object) -> bool:
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, bool | float | str)


def _config(workload: Workload) -> dict[str, Scalar]:
    unknown = set(workload.config) - set(workload.manifest.config)
    if unknown:
        raise InvalidBundle(f"the workload has no setting {', '.join(sorted(unknown))}")
    return {**workload.manifest.config, **workload.config}


def _round(
    federation: Federation, kind: TaskKind, number: int, model: Model, config: Mapping[str, Scalar]
) -> Iterable[Result]:
    sites = [s.name for s in federation.sites() if s.online]
    return federation.dispatch(
        Task(f"{kind}-{number}-{site}", site, kind, number, model=model, config=config)
        for site in sites
    )


def _mean(results: Iterable[Result]) -> dict[str, float]:
    sums: dict[str, float] = {}
    total = sum(r.examples or 1 for r in results if r.ok)
    for result in results:
        for name, value in result.metrics.items():
            sums[name] = sums.get(name, 0.0) + value * (result.examples or 1) / total
    return sums


def _load(workload: Workload) -> Any:
    path = Path(workload.root, workload.manifest.entry_points["worker"])
    spec = importlib.util.spec_from_file_location("plain_workload", path)
    if spec is None or spec.loader is None:
        raise InvalidBundle(f"{path.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
