"""The log holds all that was reported, once and in order, also when its database goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, exc

from fedgate.job import JobEvent, JobState
from fedgate_gateway.control.filing import Filing, Report
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.store.database import DatabaseAway

BOX = bytes(16)


@contextmanager
def away(state: Any) -> Iterator[None]:
    """As when the server is stopped: whatever is asked fails."""

    def fail(*_: Any) -> None:
        raise exc.OperationalError("", {}, Exception("the server closed the connection"))

    event.listen(state.database.engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(state.database.engine, "before_cursor_execute", fail)


def report(job: str, number: int, **options: Any) -> Report:
    options = {"entry": "round.finished", "data": {"round": number}, **options}
    return Report("enclave:enclave-1", job, options.pop("outbox", BOX), number, **options)


def entries(state: Any, job: str) -> list[tuple[str, Any]]:
    found = state.audit.entries(limit=1000, job=job)
    told = [(e.entry.kind, dict(e.entry.data)) for e in found]
    return [(kind, data) for kind, data in told if not kind.startswith("job.")]


def rounds(state: Any, job: str) -> list[int]:
    return [data["round"] for kind, data in entries(state, job) if kind == "round.finished"]


@pytest.fixture
def filing(state: Any) -> Filing:
    return Filing(state.database, state.jobs, state.audit)


@pytest.fixture
def told() -> list[Report]:
    return []


@pytest.fixture
def ledger(filing: Filing, told: list[Report]) -> Ledger:
    made = Ledger(filing, pause=0.01)
    made.on_taken(told.extend)
    return made


def running(ledger: Ledger, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        writer = asyncio.create_task(ledger.run())
        await work()
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 60))


async def until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.01)


def test_what_is_reported_while_the_database_is_away_is_written_when_it_is_back(
    state: Any, ledger: Ledger, told: list[Report], submit: Any, caplog: Any
) -> None:
    job = submit().id
    caplog.set_level(logging.INFO)

    async def work() -> None:
        await ledger.file(report(job, 1))
        await until(lambda: len(told) == 1)
        with away(state):
            for number in range(2, 30):
                await ledger.file(report(job, number))
            accepting = asyncio.create_task(
                ledger.do(lambda: state.jobs.transition(job, JobEvent.ACCEPT))
            )
            await asyncio.sleep(0)  # it asks
            await ledger.file(report(job, 30))
            await asyncio.sleep(0.3)
            assert not accepting.done()
            assert len(told) == 1, "nothing is acknowledged that is not written"
        assert (await accepting).state is JobState.QUEUED
        await until(lambda: len(told) == 30)

    running(ledger, work)
    assert rounds(state, job) == list(range(1, 31))
    kinds = [e.entry.kind for e in state.audit.entries(limit=1000, job=job)]
    assert kinds[-2:] == ["job.transition", "round.finished"], "in the order in which it happened"
    said = [r.getMessage() for r in caplog.records if "database" in r.getMessage()]
    assert [text.split(":")[0].split(",")[0] for text in said] == [
        "the database does not answer", "the database answers again",
    ]  # fmt: skip


def test_what_is_not_written_when_the_gateway_stops_is_not_acknowledged(
    state: Any, ledger: Ledger, told: list[Report], submit: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("fedgate_gateway.control.ledger._FAREWELL_SECONDS", 0.1)
    job = submit().id

    async def work() -> None:
        asking = asyncio.create_task(ledger.do(lambda: state.jobs.get(job)))
        await ledger.file(report(job, 1))
        await asyncio.sleep(0.1)
        asking.add_done_callback(lambda done: asked.append(done.exception()))

    asked: list[Any] = []
    with away(state):
        running(ledger, work)
    assert [type(error) for error in asked] == [DatabaseAway]
    assert told == []
    assert rounds(state, job) == []


def test_a_report_that_comes_again_is_acknowledged_and_not_written_again(
    state: Any, filing: Filing, submit: Any
) -> None:
    job = submit().id
    filing.write([report(job, 1), report(job, 2), report(job, 1)])
    filing.write([report(job, 2), report(job, 3)])
    assert rounds(state, job) == [1, 2, 3]
    filing.write([report(job, 1, outbox=bytes(15) + b"x")])  # another outbox counts anew
    assert rounds(state, job) == [1, 2, 3, 1]


def test_events_and_entries_share_the_count(state: Any, filing: Filing, submit: Any) -> None:
    job = submit().id
    event = report(job, 2, entry="", event="round")
    filing.write([report(job, 1), event, report(job, 3)])
    filing.write([event])
    assert [e.data for e in state.jobs.events(job, kind="round")] == [{"round": 2}]
    assert entries(state, job) == [
        ("round.finished", {"round": 1}),
        ("round.finished", {"round": 3}),
    ]


def test_more_events_than_are_kept_cost_no_entry(state: Any, submit: Any) -> None:
    state.jobs._events._most = 10
    filing = Filing(state.database, state.jobs, state.audit)
    job = submit().id
    for number in range(1, 31, 2):
        filing.write([report(job, number, entry="", event="round"), report(job, number + 1)])
    assert rounds(state, job) == list(range(2, 31, 2))
    assert 0 < len(state.jobs.events(job, kind="round")) < 10


def test_numbers_that_are_missing_are_told(state: Any, filing: Filing, submit: Any) -> None:
    """As after a restore of the database from a backup: peers keep nothing that was taken."""
    job = submit().id
    filing.write([report(job, 4)])
    assert entries(state, job) == [
        ("reports.missing", {"first": 1, "last": 3}), ("round.finished", {"round": 4}),
    ]  # fmt: skip


def test_one_that_cannot_be_written_is_told_and_costs_no_other(
    state: Any, ledger: Ledger, told: list[Report], submit: Any
) -> None:
    job, other = submit().id, submit().id
    large = {"round": 2**60}

    async def work() -> None:
        for each in (
            report(job, 1), report(other, 1), report(job, 2, data=large), report(other, 2),
            report(job, 3), report(job, 4, data=large),
        ):  # fmt: skip
            await ledger.file(each)
        await until(lambda: len(told) == 6)

    running(ledger, work)
    assert entries(state, job) == [
        ("round.finished", {"round": 1}), ("reports.refused", {"number": 2}),
        ("round.finished", {"round": 3}),
    ]  # fmt: skip
    assert rounds(state, other) == [1, 2]
    assert [(r.job, r.number) for r in told if r.refused] == [(job, 2), (job, 4)]


class Unreliable:
    """A database that is away now and then, also just after it has committed."""

    def __init__(self, when: Sequence[str]) -> None:
        self.log: list[Any] = []
        self._last = 0
        self._when = iter(when)

    def write(self, reports: Sequence[Report]) -> None:
        how = next(self._when, "there")
        if how == "before":
            raise DatabaseAway("it is away")
        if any(r.data.get("round") == BAD for r in reports):
            raise ValueError("a number that no database takes")
        for each in reports:
            if each.number > self._last:
                assert each.number == self._last + 1
                self._last = each.number
                self.log.append("refused" if each.refused else each.data["round"])
        if how == "after":
            raise DatabaseAway("it went away at the commit")

    def ask(self) -> None:
        if next(self._when, "there") != "there":
            raise DatabaseAway("it is away")
        self.log.append("asked")


BAD = 2**60


@given(
    when=st.lists(st.sampled_from(["there", "before", "after"]), max_size=12),
    sends=st.lists(st.sampled_from(["report", "again", "bad", "ask"]), max_size=20),
    together=st.booleans(),
)
def test_whenever_it_goes_away_all_is_there_once_and_in_order(
    when: list[str], sends: list[str], together: bool
) -> None:
    database, told = Unreliable(when), []  # type: ignore[var-annotated]
    ledger = Ledger(database, pause=0.0001)  # type: ignore[arg-type]
    ledger.on_taken(told.extend)
    expected: list[Any] = []

    async def work() -> None:
        tasks, last = [], 0
        for what in sends:
            if what == "ask":
                tasks.append(asyncio.create_task(ledger.do(database.ask)))
                expected.append("asked")
            elif what == "again" and last:
                await ledger.file(report("job", 1))
            else:
                last += 1
                data = {"round": BAD if what == "bad" else last}
                expected.append("refused" if what == "bad" else last)
                await ledger.file(report("job", last, data=data))
            await asyncio.sleep(0 if together else 0.001)
        await asyncio.gather(*tasks)
        await until(lambda: len(told) == sum(what != "ask" for what in sends))

    running(ledger, work)
    assert database.log == expected


def test_a_frame_that_a_site_refused_is_also_told_to_whoever_watches_the_job(
    state: Any, filing: Filing, submit: Callable[..., Any]
) -> None:
    job = submit().id
    refused = {"entry": "frame.refused", "data": {"frame": "aux:noise", "reason": "denied"}}
    filing.write([Report("site:site-1", job, BOX, 1, **refused)] * 2)  # it is said once
    told = [e.data for e in state.jobs.events(job) if e.kind == "frame-refused"]
    assert told == [{"site": "site-1", "frame": "aux:noise"}]
    assert [kind for kind, _ in entries(state, job)] == ["frame.refused"]


def test_why_a_site_keeps_its_files_stands_beside_its_name(
    state: Any, filing: Filing, submit: Callable[..., Any]
) -> None:
    job = submit().id
    site = state.jobs.job_sites(job)[0].site
    told = {"code": "files-not-permitted", "why": "by its owner's policy"}
    filing.write([Report(f"site:{site}", job, BOX, 1, entry="site-files.kept", data=told)])
    (found,) = [s for s in state.jobs.job_sites(job) if s.site == site]
    assert (found.state, found.why) == ("files-kept", "by its owner's policy")
    assert entries(state, job)[-1][0] == "site-files.kept"
