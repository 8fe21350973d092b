"""A site takes what it can get, in a real federation: nobody else notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
GREEDY = "site-3"
MIB, GIB = 1 << 20, 1 << 30


def small_spool(folder: Path) -> None:
    limits = "[limits]\nspool_bytes = 48_000_000\nspool_site_bytes = 24_000_000\n"
    gateway = folder / "gateway.toml"
    gateway.write_text(f"{gateway.read_text()}\n{limits}")


@pytest.fixture(scope="module")
def bench(make_bench: Callable[..., Any], make_workload: Any) -> Iterator[Any]:
    made = make_bench(sites=3, programs={GREEDY: "hostile_site"}, edit=small_spool)
    made.small, made.big = make_workload(rounds=1), make_workload(rounds=1, size=800_000)
    yield made
    made.order()


def greedy(bench: Any, **what: Any) -> str:
    """A job in which the greedy site does this; it has a few seconds for its task."""
    bench.order(site=what)
    return str(bench.submit(bench.small, sites=["site-1", GREEDY], min_sites=1, task_seconds=4))


@pytest.mark.parametrize(
    ("uploads", "said"),
    [
        pytest.param([[16 * GIB, 0]] * 4, "holding", id="declared"),
        pytest.param([[16 * MIB, 16 * MIB]] * 4, "hogging", id="sent"),
    ],
)
def test_cargo_of_one_site_takes_no_room_from_another_job(
    bench: Any, uploads: list[list[int]], said: str
) -> None:
    log = bench.federation.layout.log(GREEDY)
    before = log.read_text().count(said)
    hogging = greedy(bench, uploads=uploads)
    bench.until(lambda: log.read_text().count(said) == before + 4)
    bench.order()
    other = bench.wait(bench.submit(bench.big, sites=["site-1", "site-2"], min_sites=2))
    assert other["state"] == "succeeded", other
    bench.federation.client.cancel(hogging)
