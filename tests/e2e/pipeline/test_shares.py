"""A site takes what it can get, in a real federation: nobody else notices."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import InvalidTransition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
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


def greedy(bench: Any, said: str, times: int, **what: Any) -> str:
    """A job in which the greedy site has done this, and said so; its tasks may take seconds."""
    log = bench.federation.layout.log(GREEDY)
    before = log.read_text().count(said)
    bench.order(site=what)
    job = bench.submit(bench.small, sites=["site-1", GREEDY], task_seconds=30)
    bench.until(lambda: log.read_text().count(said) >= before + times)
    bench.order()
    return str(job)


def over(bench: Any, job: str) -> None:
    with contextlib.suppress(InvalidTransition):  # it has ended by itself
        bench.federation.client.cancel(job)


@pytest.mark.parametrize(
    ("uploads", "said"),
    [
        pytest.param([[11 * MIB, 0]] * 4, "holding", id="declared"),
        pytest.param([[16 * MIB, 16 * MIB]] * 4, "hogging", id="sent"),
    ],
)
def test_cargo_of_one_site_takes_no_room_from_another_job(
    bench: Any, uploads: list[list[int]], said: str
) -> None:
    hogging = greedy(bench, said, 4, uploads=uploads)
    other = bench.wait(bench.submit(bench.big, sites=["site-1", "site-2"], min_sites=2))
    assert other["state"] == "succeeded", other
    over(bench, hogging)


class Memory:
    """The most memory that a process has had since this was made, in bytes."""

    def __init__(self, pid: int) -> None:
        self._process = Path("/proc") / str(pid)
        (self._process / "clear_refs").write_text("5")
        self.before = self.peak()

    def peak(self) -> int:
        status = (self._process / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize(
    ("sizes", "ends"),
    [
        pytest.param([[16 * GIB, 0]], "malformed or too large", id="a body beyond the limit"),
        pytest.param([[0, 16 * GIB]], "malformed or too large", id="a model beyond the limit"),
        pytest.param([[200 * MIB, 4 * GIB]] * 30, "", id="bodies"),
        pytest.param([[0, 4 * GIB]] * 30, "", id="models"),
    ],
)
def test_what_is_announced_and_does_not_come_costs_the_enclave_no_memory(
    bench: Any, sizes: list[list[int]], ends: str
) -> None:
    memory = Memory(bench.federation.programs["enclave-1"].pid)
    job = greedy(bench, "announced", len(sizes), announce=sizes)
    if ends:
        (ended,) = bench.until(lambda: bench.audit(job, "session.ended"))
        assert ends in ended["data"]["why"]
    else:
        time.sleep(0.5)  # it is waiting for what was announced
    assert memory.peak() - memory.before < 40 * MIB
    over(bench, job)


def test_files_that_nobody_collects_end_their_sites_session_and_are_no_output(bench: Any) -> None:
    bench.order(site={"files": True})
    job = bench.submit(bench.small, sites=["site-1", GREEDY], min_sites=2, task_seconds=30)
    assert bench.wait(job)["state"] == "failed"
    bench.order()
    (ended,) = bench.audit(job, "session.ended")
    assert (ended["data"]["site"], ended["data"]["code"]) == (GREEDY, Code.FILES_UNASKED)
    assert {output["kind"] for output in bench.federation.client.outputs(job)} <= {"log"}
