"""The example a newcomer runs: an ordinary FLARE job whose metric is that of pooled training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedgate_gateway.child.local import LocalSite, run_locally

EXAMPLE = Path(__file__).parents[2] / "examples" / "flare-digits"
pytestmark = pytest.mark.e2e


def python(*args: object, cwd: Path = EXAMPLE) -> str:
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, env=env, check=True, timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.torture  # tests/e2e/test_demo_report.py says the same of a whole federation's
def test_the_federated_model_is_as_good_as_the_pooled_one(tmp_path: Path):
    python("split.py", tmp_path / "data", "--sites", 3)
    files = sorted((tmp_path / "data").glob("*/digits.npz"))
    sites = [
        LocalSite(f.parent.name, {"digits": f}, environment={"DIGITS_DATA": str(f)}) for f in files
    ]
    done = run_locally(EXAMPLE / "job", sites, tmp_path / "work", timeout=60)
    assert done.error is None
    (tmp_path / "model.safetensors").write_bytes(done.model.to_bytes())
    ours = json.loads(python("evaluate.py", tmp_path / "model.safetensors", *files))["accuracy"]
    pooled = json.loads(python("pooled.py", *files))["accuracy"]
    assert ours > 0.9
    assert abs(ours - pooled) < 0.02
    assert (done.artifacts / "models" / "server.npy").exists()


def test_the_committed_job_is_what_the_recipe_exports(tmp_path: Path):
    python("job.py", tmp_path)

    def content(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert content(tmp_path / "digits") == content(EXAMPLE / "job")


def test_the_example_imports_nothing_of_ours():
    for path in EXAMPLE.rglob("*.py"):
        assert "fedgate" not in path.read_text(), path
