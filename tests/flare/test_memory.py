"""Large models: no round leaves one behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate_gateway.child.serving import Serving

pytestmark = pytest.mark.e2e
JOBS = Path(__file__).parent / "jobs"


def test_the_coordinators_memory_does_not_grow_with_the_rounds(run: Callable):
    done = run("large")
    assert done.error is None
    assert set(done.model.numpy()["numpy_key"]) == {9.0}
    used = [int(line) for line in (done.artifacts / "memory.txt").read_text().split()]
    assert len(used) == 8
    assert used[-1] <= used[1] + 70  # MB; a model has 32, and six rounds were between


def test_results_that_stay_sealed_are_read_one_after_the_other(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whichever of the sites are ready, the coordinator holds the model of one of them, or two."""
    job = tmp_path / "large"
    shutil.copytree(JOBS / "large", job)
    config = job / "app/config/config_fed_server.json"
    text = config.read_text().replace(
        '"num_clients": 2, "num_rounds": 8', '"num_clients": 4, "num_rounds": 2'
    )
    assert '"num_clients": 4' in text
    config.write_text(text)
    held: list[int] = []
    original = Serving._read

    async def read(self: Serving, *arguments: Any) -> None:
        await original(self, *arguments)
        held.append(self._pool.lent)

    monkeypatch.setattr(Serving, "_read", read)
    done = run(job, sites=4, keep_sealed=True)
    assert done.error is None, done.error
    assert set(done.model.numpy()["numpy_key"]) == {3.0}
    assert len(held) == 8
    assert max(held) <= 2
