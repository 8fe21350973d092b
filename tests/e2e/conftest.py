"""Whole federations on loopback, each in a folder of its own; every program is a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedgate_gateway.dev import DatasetTemplate, Federation
from fedgate_gateway.dev.leftovers import leftovers

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "tests" / "plain" / "workload"

MakeFederation = Callable[..., Federation]


def numbers(folder: Path, sites: int) -> DatasetTemplate:
    """The plain workload's data: site-1 holds 2.0, site-2 holds 4.0, …"""
    for number in range(1, sites + 1):
        (folder / f"site-{number}.txt").write_text(str(2.0 * number))
    return DatasetTemplate("numbers", str(folder / "{site}.txt"))


def make(folder: Path, sites: int, **options: Any) -> Federation:
    data = folder / "numbers"
    data.mkdir(parents=True, exist_ok=True)
    datasets = [numbers(data, sites), *options.pop("datasets", [])]
    adapters = options.pop("adapters", ("flower", "flare", "plain"))
    options.setdefault("examples", False)
    return Federation(
        folder / "federation", sites=sites, datasets=datasets, adapters=adapters, **options
    )


def require_nothing_left(folder: Path, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while (found := leftovers(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == {}


@pytest.fixture
def plain_workload() -> Path:
    """Three rounds on the dataset `numbers`; its model approaches the mean of all sites."""
    return PLAIN


@pytest.fixture
def nothing_left() -> Callable[..., None]:
    """Fails unless every process of a federation ends within some seconds."""
    return require_nothing_left


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[Federation]:
    """Two sites with the dataset `numbers`, shared by the tests of a file: leave it as it was."""
    folder = tmp_path_factory.mktemp("federation")
    made = make(folder, 2)
    with made:
        yield made
    require_nothing_left(folder)


@pytest.fixture
def make_federation(tmp_path) -> Iterator[MakeFederation]:
    """``make_federation(sites=2, …)``: not started; stopped and looked after at the end."""
    made: list[Federation] = []

    def build(sites: int = 2, **options: Any) -> Federation:
        made.append(make(tmp_path / str(len(made)), sites, **options))
        return made[-1]

    yield build
    for one in made:
        one.stop()
    require_nothing_left(tmp_path)


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def fedgate() -> Callable[..., Ran]:
    """The command line as a process of its own, with a federation's profile."""

    def run(profile: Path | None, *arguments: object, timeout: float = 90) -> Ran:
        env = {**os.environ, "FEDGATE_PROFILE": str(profile or "")}
        ran = subprocess.run(
            [sys.executable, "-m", "fedgate_gateway.cli.main", *map(str, arguments)],
            env=env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run
