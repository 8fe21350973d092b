"""`make demo`: two unmodified workloads side by side, a report, and nothing left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedgate_gateway.dev.leftovers import leftovers

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_demo_runs_both_workloads_and_reports(tmp_path):
    folder = tmp_path / "demo"
    ran = subprocess.run(
        [sys.executable, str(DEMO), "--dir", str(folder)],
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert leftovers(folder) == {}
    report = ran.stdout
    accuracy = re.findall(r"accuracy ([0-9.]+), trained on pooled data ([0-9.]+)", report)
    assert len(accuracy) == 2
    assert all(float(found) > 0.9 for pair in accuracy for found in pair)
    assert all(abs(float(ours) - float(pooled)) < 0.02 for ours, pooled in accuracy)
    for name in ("breast-cancer", "digits"):
        assert (folder / "results" / name / "model.safetensors").stat().st_size > 500
        assert str(folder / "results" / name / "model.safetensors") in report
    assert "verifies with the key in the profile: yes" in report
    rounds = re.findall(r"round (\d+) (\w+): 3 of 3 sites, [\d.]+ k?B out, [\d.]+ k?B in", report)
    assert {("1", "train"), ("8", "evaluate"), ("5", "train")} <= set(rounds)
