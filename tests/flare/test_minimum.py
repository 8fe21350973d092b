"""A job that may go on with some of its sites: who is in which round's model.

FLARE adds a late result to the round that is on. The arithmetic of the job is exact, so that the
model says which results made it, whatever the order.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest

pytestmark = pytest.mark.e2e
ROUNDS = 6
SITES = ("site-1", "site-2", "site-3")
_ACCEPTED = re.compile(r"Contribution from (site-\d) ACCEPTED by the aggregator at round (\d)")
_BUSY = "import time\nend = time.monotonic() + 550\nwhile time.monotonic() < end: pass"


def model_of(cohorts: list[set[str]]) -> np.ndarray:
    """What the job gives when exactly these sites are in its rounds, as FLARE computes it."""
    weights = np.array([[0.0, 1.0], [2.0, -4.0]], np.float32)
    for cohort in cohorts:
        steps = {site: max(1, int(site[-1]) - 1) for site in sorted(cohort)}
        terms = [(weights / 2 + int(s[-1])) * n for s, n in steps.items()]
        weights = np.asarray(sum(terms[1:], terms[0]) * (1.0 / sum(steps.values())), np.float32)
    return weights


def test_a_result_that_is_late_is_in_no_round(run: Callable):
    at_work = {"TRAINER_EACH": "0.3"}
    ours = run(
        "hasty", sites=3,
        env={
            "site-1": at_work,
            "site-2": {**at_work, "TRAINER_LATE_ROUND": "2", "TRAINER_LATE": "2.9"},
            "site-3": at_work,
        },
    )  # fmt: skip
    assert ours.error is None
    cohorts = defaultdict[int, set[str]](set)
    for site, number in _ACCEPTED.findall(ours.log):
        cohorts[int(number)].add(site)
    together = [cohorts[n] for n in range(ROUNDS)]
    assert together[0] == set(SITES)
    assert together[1] == {"site-1", "site-3"}
    assert "the result of site-2 for 'train' came after the workflow had closed" in ours.log
    np.testing.assert_allclose(ours.model.numpy()["numpy_key"], model_of(together), rtol=1e-6)


@pytest.fixture
def load() -> Iterator[None]:
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(6)]
    yield
    for process in busy:
        process.kill()
        process.wait()


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("load")
def test_all_that_are_quick_are_in_every_round_fifty_times_under_load(run: Callable):
    expected = model_of([set(SITES)] * ROUNDS)
    for number in range(50):
        env = {s: {"TRAINER_JITTER": "0.1", "TRAINER_SEED": str(number)} for s in SITES}
        ours = run("hasty", sites=3, env=env)
        assert ours.error is None, number
        assert ours.model.numpy()["numpy_key"].tobytes() == expected.tobytes(), number
