"""Connections break at random bytes of models, again and again: no update is ever lost for it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.torture, pytest.mark.e2e, pytest.mark.timeout(900)]
SEED = int(os.environ.get("SEED", "1"))
JOBS, ROUNDS = 20, 3


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any]) -> Any:
    return make_bench(sites=2, lines=True)


@pytest.mark.parametrize("number", range(JOBS))
def test_the_weights_are_those_of_the_undisturbed_run(
    bench: Any, make_noise: Any, tmp_path: Path, number: int
) -> None:
    chance = random.Random(f"{SEED} {number}")
    archive, weights = make_noise(ROUNDS)
    job = bench.submit(archive, min_sites=2)
    told: list[Any] = []
    while not told:
        line = chance.choice(list(bench.lines.values()))
        line.cut_after(chance.randint(1, 6_000_000), chance.choice(("up", "down")))
        if chance.random() < 0.02:
            bench.federation.programs["gateway"].kill()
            bench.federation.programs["gateway"].start()
            bench.until(bench.federation.client.ready, 60)
        try:
            told.append(bench.wait(job, chance.uniform(0.1, 1.0)))
        except AssertionError:
            continue
    assert told[0]["state"] == "succeeded", (SEED, number, told)
    assert bench.weights(job, tmp_path).tobytes() == weights.tobytes(), (SEED, number)
