"""Our own Flower apps, each through real child processes and on stock flwr: the same to the bit.

An app writes what it arrives at into its working directory; those files are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate_gateway.child.local import LocalRun, LocalSite, run_locally

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
APPS = HERE / "apps"

#: App -> sites, overrides of its run configuration.
RUNS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "every-strategy": (4, {}),
    "boosting": (3, {}),
    "private-updates": (3, {}),
    "local-privacy": (2, {}),
    "named-actions": (3, {}),
    "every-payload": (2, {}),
    "legacy-strategy": (3, {}),
    "secure-sum": (3, {}),
    "lifespans": (2, {}),
    "remembering": (2, {}),
    "settings": (2, {"number": 7, "rate": 2.0, "flag": True, "text": "ö", "nested.deep.value": 9}),
    "opaque-model": (2, {}),
    "histograms": (2, {"bins": 4}),
    "linear-models": (3, {}),
}


def settings_of(site: int) -> dict[str, Any]:
    return {"name": f"ward {site}", "beds": 20 + site, "open": site % 2 == 0}


def both(app: str, tmp_path: Path) -> tuple[LocalRun, Path]:
    """Our run, and the folder of stock flwr's; the two at the same time."""
    count, config = RUNS[app]
    settings = [settings_of(site) for site in range(count)]
    stock = tmp_path / "stock"
    stock.mkdir()
    given = json.dumps({"settings": settings, "config": dict(config)})
    native = subprocess.Popen(
        [sys.executable, HERE / "reference_driver.py", APPS / app, given],
        cwd=stock, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        run = run_locally(
            APPS / app,
            [LocalSite(f"site-{i}", settings=s) for i, s in enumerate(settings)],
            tmp_path / "work",
            config=config,
            timeout=90,
        )
        output, _ = native.communicate(timeout=90)
    finally:
        native.kill()
    assert native.returncode == 0, output[-3000:]
    assert run.error is None, f"{run.error}\n{run.log[-3000:]}\n{run.site_logs}"
    return run, stock


#: Secure aggregation sums over sets of nodes: the last bit of a float was seen to differ by run.
LAST_BIT = {"secure-sum"}


def same_files(ours: Path, theirs: Path, *, last_bit: bool = False) -> None:
    names = sorted(path.name for path in theirs.iterdir() if path.is_file())
    assert names, "the app wrote nothing down"
    for name in names:
        if name.endswith(".npz"):
            mine, other = dict(np.load(ours / name)), dict(np.load(theirs / name))
            assert sorted(mine) == sorted(other)
            for key, array in mine.items():
                assert (array.dtype, array.shape) == (other[key].dtype, other[key].shape), name
                if last_bit and array.dtype.kind == "f":
                    np.testing.assert_array_max_ulp(array, other[key], maxulp=2)
                else:
                    assert array.tobytes() == other[key].tobytes(), (name, key)
        else:
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize("app", RUNS)
def test_an_app_arrives_at_the_very_bytes_of_stock_flower(app: str, tmp_path: Path) -> None:
    run, stock = both(app, tmp_path)
    same_files(run.artifacts, stock, last_bit=app in LAST_BIT)
