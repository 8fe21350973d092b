"""A program does not start with a framework that its adapter was not written for."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedgate.errors import InvalidConfig, PluginUnavailable
from fedgate_gateway.child.frameworks import require_frameworks
from fedgate_gateway.config import Runtime

SITE = """
name = "ward"
data = "state"
gateway = "localhost:1"
api = "https://localhost:2"
policy = "site.cedar"
projects = []
"""


@pytest.fixture
def another_flwr(tmp_path: Path) -> Path:
    """A folder that, first on the path, makes Python believe in flwr 1.40.0."""
    info = tmp_path / "packages" / "flwr-1.40.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flwr\nVersion: 1.40.0\n")
    return info.parent


def interpreter(folder: Path, says: str) -> Runtime:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return Runtime(interpreter=str(path))


def test_what_is_installed_with_these_tests_is_right() -> None:
    require_frameworks(("flower", "flare"), Runtime())


def test_another_flower_is_refused_in_a_sentence(
    another_flwr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(another_flwr))
    require_frameworks(("flare",), Runtime())  # not allowed here, so nobody's business
    with pytest.raises(PluginUnavailable) as refused:
        require_frameworks(("flower",), Runtime())
    assert str(refused.value).startswith(
        "the flower adapter needs flwr==1.41.*, and 1.40.0 is installed"
    )
    assert "\n" not in str(refused.value)


def test_the_interpreter_of_the_workloads_is_what_counts(tmp_path: Path) -> None:
    require_frameworks(("flower",), interpreter(tmp_path, "echo '\"1.41.7\"'"))
    require_frameworks(("flower",), interpreter(tmp_path, "echo null"))  # it has none at all
    with pytest.raises(PluginUnavailable, match=r"1\.42\.0 is installed"):
        require_frameworks(("flower",), interpreter(tmp_path, "echo '\"1.42.0\"'"))
    with pytest.raises(InvalidConfig, match="does not work"):
        require_frameworks(("flower",), Runtime(interpreter=str(tmp_path / "none")))
    with pytest.raises(InvalidConfig, match="does not work"):
        require_frameworks(("flower",), interpreter(tmp_path, "exit 1"))


def test_a_plugin_that_is_not_installed_stops_nobody() -> None:
    require_frameworks(("a-plugin-that-nobody-has",), Runtime())


@pytest.mark.e2e
def test_a_site_with_another_flower_ends_at_once_with_that_sentence(
    another_flwr: Path, tmp_path: Path
) -> None:
    (tmp_path / "site.toml").write_text(SITE)
    ran = subprocess.run(
        [sys.executable, "-m", "fedgate_gateway.cli.main", "site", "run", "--config", "site.toml"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(another_flwr)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 69
    assert "needs flwr==1.41.*, and 1.40.0 is installed" in ran.stderr
    assert "Traceback" not in ran.stderr
