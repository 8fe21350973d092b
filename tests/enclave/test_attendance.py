"""Sites come, go, and come back; each change is told once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fedgate.codes import Code
from fedgate.errors import Unavailable
from fedgate.notice import Notice
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
    asyncio.run(asyncio.wait_for(test(), 5))


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
        await asyncio.sleep(0.05)
        assert told.attendance.left == []
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
            await asyncio.sleep(0.3)
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
