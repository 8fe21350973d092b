"""Sites come, go, and come back; each change is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fedgate.codes import Code
from fedgate.errors import InvalidConfig, Unavailable
from fedgate.notice import Notice, read_notice
from fedgate_gateway.enclave.attendance import Attendance

LEFT = Unavailable("it left", notice=Notice(Code.SITE_ENDED))


class Told:
    def __init__(self, grace_seconds: float = 10.0) -> None:
        self.events: list[str] = []
        self.attendance = Attendance(
            ("a", "b"),
            grace_seconds=grace_seconds,
            ready_seconds=0.1,
            on_ready=lambda site: self.events.append(f"{site} ready"),
            on_lost=lambda site, error: self.events.append(f"{site} lost: {error}"),
        )


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_each_change_is_told_once() -> None:
    told = Told()
    for _ in range(2):
        told.attendance.is_ready("a")
    for _ in range(2):
        told.attendance.lose("b", LEFT)
    assert told.events == ["a ready", "b lost: it left"]
    assert told.attendance.left == ["a"]
    assert told.attendance.losses() == {"b": Code.SITE_ENDED}
    assert told.attendance.changed.is_set()


def test_a_lost_site_cannot_say_that_it_is_ready_until_it_has_another_session() -> None:
    told = Told()
    told.attendance.lose("a", LEFT)
    told.attendance.is_ready("a")
    assert told.attendance.ready == set()
    told.attendance.joins("a")
    assert told.attendance.left == ["a", "b"]
    told.attendance.is_ready("a")
    assert told.attendance.ready == {"a"}


def test_a_new_session_is_not_ready_because_the_old_one_was() -> None:
    told = Told()
    told.attendance.is_ready("a")
    told.attendance.joins("a")
    assert told.attendance.ready == set()


def test_a_short_absence_costs_nothing() -> None:
    async def test() -> None:
        told = Told(grace_seconds=0.05)
        told.attendance.is_ready("a")
        told.attendance.online("a", False)
        told.attendance.online("a", True)
        await asyncio.sleep(0.1)
        assert told.events == ["a ready"]

    run(test)


def test_a_long_absence_loses_a_site_and_its_resumed_session_brings_it_back_as_it_was() -> None:
    async def test() -> None:
        told = Told(grace_seconds=0.01)
        told.attendance.is_ready("a")
        for site in ("a", "b"):
            told.attendance.online(site, False)
        async with asyncio.timeout(60):
            while told.attendance.left:
                await asyncio.sleep(0.01)
        for site in ("a", "b"):
            told.attendance.resumes(site)
        assert told.attendance.left == ["a", "b"]
        assert told.attendance.ready == {"a"}

    run(test)


def test_a_site_that_left_does_not_come_back_by_resuming() -> None:
    told = Told()
    told.attendance.is_ready("a")
    told.attendance.lose("a", LEFT)
    told.attendance.resumes("a")
    assert told.attendance.left == ["b"]


def test_nobody_is_lost_after_the_end_nor_outside_the_job() -> None:
    async def test() -> None:
        told = Told(grace_seconds=0.01)
        told.attendance.online("a", False)
        told.attendance.online("a stranger", False)
        told.attendance.close()
        await asyncio.sleep(0.05)
        assert told.events == []

    run(test)


def test_who_comes_back_has_only_so_long_to_get_ready_again() -> None:
    async def test() -> None:
        for comes_back in ("restarts", "joins"):
            told = Told()
            for site in "ab":
                told.attendance.is_ready(site)
            told.attendance.begin()
            getattr(told.attendance, comes_back)("a")
            assert told.attendance.ready == {"b"}
            told.attendance.is_ready("a")
            await asyncio.sleep(0.3)
            assert told.attendance.losses() == {}
            getattr(told.attendance, comes_back)("a")
            async with asyncio.timeout(60):
                while not told.attendance.losses():
                    await asyncio.sleep(0.01)
            assert told.attendance.losses() == {"a": Code.NOT_READY}
            told.attendance.restarts("a")
            told.attendance.is_ready("a")
            assert told.attendance.ready == {"b"}, "a lost site is not ready again by itself"

    run(test)


def test_before_a_job_runs_its_start_is_the_only_limit() -> None:
    async def test() -> None:
        told = Told()
        told.attendance.restarts("a")
        await asyncio.sleep(0.3)
        assert told.attendance.losses() == {}

    run(test)


def test_how_a_job_ended_says_which_sites_it_lost_and_why() -> None:
    """A crash and a missing dataset must not both read as "waited for more nodes"."""
    there = Attendance(
        ["a", "b", "c", "d"],
        grace_seconds=1,
        ready_seconds=1,
        on_ready=lambda _: None,
        on_lost=lambda *_: None,
    )
    there.is_ready("a")
    there.is_ready("b")
    there.lose("b", Unavailable("gone", notice=Notice(Code.WORKER_DIED)))
    there.lose("c", InvalidConfig("there is no dataset 'patients'"))
    assert there.begin() == ["d"]
    told = there.explain(Notice(Code.WORKLOAD_FAILED))
    assert told.sites == {
        "b": Code.WORKER_DIED, "c": Code.INVALID_CONFIG, "d": Code.NOT_JOINED,
    }  # fmt: skip
    assert "b: the worker's process ended without a word" in told.sentence
    there.is_ready("d")
    assert "d" not in there.explain(Notice(Code.WORKLOAD_FAILED)).sites
    named = Notice(Code.TOO_FEW_SITES, {"left": 1, "least": 2}, {"b": Code.LINK_LOST})
    assert there.explain(named) == named


def test_of_very_many_lost_sites_a_notice_names_as_many_as_it_can_hold() -> None:
    sites = [f"{'site' * 15}-{n}" for n in range(1000)]
    there = Attendance(
        sites, grace_seconds=1, ready_seconds=1,
        on_ready=lambda _: None, on_lost=lambda *_: None,
    )  # fmt: skip
    for site in sites:
        there.lose(site, Unavailable("gone", notice=Notice(Code.SLOW_START, {"seconds": 1})))
    notice = there.explain(Notice(Code.WORKLOAD_FAILED))
    assert read_notice(notice.to_text()) == notice
