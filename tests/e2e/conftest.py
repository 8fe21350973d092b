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


def numbers(folder: Path, sites: int) -> DatasetTemplate:
    """The plain workload's data: site-1 holds 2.0, site-2 holds 4.0, …"""
    for number in range(1, sites + 1):
        (folder / f"site-{number}.txt").write_text(str(2.0 * number))
    return DatasetTemplate("numbers", str(folder / "{site}.txt"))


def require_nothing_left(folder: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while (found := leftovers(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == {}


@pytest.fixture
def nothing_left() -> Callable[..., None]:
    """Fails unless every process of a federation ends within some seconds."""
    return require_nothing_left


@pytest.fixture(scope="session")
def federation(tmp_path_factory, quick_programs) -> Iterator[Federation]:
    """Two sites with the dataset `numbers`, shared by several files: leave it as it was."""
    folder = tmp_path_factory.mktemp("federation")
    data = folder / "numbers"
    data.mkdir()
    made = Federation(
        folder / "federation", sites=2, datasets=[numbers(data, 2)], adapters=("plain",),
        examples=False,
    )  # fmt: skip
    with quick_programs(), made:
        yield made
    require_nothing_left(folder)


@pytest.fixture
def fedgate(fedgate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line in this process, with a federation's profile."""

    def run(profile: Path, *arguments: object) -> Any:
        monkeypatch.setenv("FEDGATE_PROFILE", str(profile))
        return fedgate(*arguments)

    return run


@dataclass
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def command() -> Callable[..., Ran]:
    """The same as a process of its own, as people start it."""

    def run(profile: Path | None, *arguments: object, timeout: float = 90) -> Ran:
        env = {**os.environ, "FEDGATE_PROFILE": str(profile or "")}
        ran = subprocess.run(
            [sys.executable, "-m", "fedgate_gateway.cli.main", *map(str, arguments)],
            env=env, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run
