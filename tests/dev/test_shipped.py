"""`fedgate dev` from the wheel alone: what it writes from is shipped with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fedgate_gateway.config import SiteConfig, load_config
from fedgate_gateway.policy import check

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The wheel, unpacked where no checkout is around it."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=100)
    (wheel,) = out.glob("*.whl")
    place = out / "site-packages"
    with zipfile.ZipFile(wheel) as zipped:
        zipped.extractall(place)
    return place


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # In front of the editable installation that these tests run from.
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment, cwd=installed, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_federation_is_prepared_with_the_examples_of_the_wheel(installed, tmp_path):
    folder = tmp_path / "federation"
    code = "from fedgate_gateway.dev.examples import folder; print(folder())"
    assert run(installed, "-c", code).stdout.strip() == str(installed / "fedgate_gateway/examples")
    arguments = ("-m", "fedgate_gateway.cli.main", "dev", "--dir", str(folder), "--prepare-only")
    ran = run(installed, *arguments, "--sites", "2")
    assert ran.returncode == 0, ran.stderr
    site = load_config(SiteConfig, folder / "site-2.toml")
    assert set(site.datasets) == {"breast-cancer", "digits"}
    assert all(dataset.path.stat().st_size > 1000 for dataset in site.datasets.values())
    assert check(site.policy) == ()
