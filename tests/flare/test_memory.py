"""Large models: no round leaves one behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.e2e


def test_the_coordinators_memory_does_not_grow_with_the_rounds(run: Callable):
    done = run("large")
    assert done.error is None
    assert set(done.model.numpy()["numpy_key"]) == {9.0}
    used = [int(line) for line in (done.artifacts / "memory.txt").read_text().split()]
    assert len(used) == 8
    assert used[-1] <= used[1] + 70  # MB; a model has 32, and six rounds were between
