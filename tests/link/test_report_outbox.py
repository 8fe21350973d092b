"""Reports reach the gateway once, in order, whatever breaks in between."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate.codes import Code
from fedgate.errors import FedgateError, InvalidConfig
from fedgate_gateway.link import report_outbox
from fedgate_gateway.link.report_outbox import WINDOW, ReportOutbox
from fedgate_proto.v1 import link_pb2 as pb


class Gateway:
    """Commits what came over a link, and acknowledges it; both links can break at any message."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []  # (job, what)
        self.marks: dict[tuple[str, bytes], int] = {}
        self.coming: list[pb.PeerMessage] = []
        self.going: list[pb.ReportsTaken] = []

    def commit(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.coming))):
            audit = self.coming.pop(0).audit
            key = (audit.job, audit.place.outbox)
            mark = self.marks.get(key, 0)
            if audit.place.number > mark:
                assert audit.place.number == mark + 1, "a gap"
                self.marks[key] = audit.place.number
                self.log.append((audit.job, audit.data))
            self.going.append(pb.ReportsTaken(job=key[0], outbox=key[1], number=self.marks[key]))


class Peer:
    """A program with its outbox. What is told of a job are numbers, in order."""

    def __init__(self, folder: Path, gateway: Gateway) -> None:
        self.folder, self.gateway = folder, gateway
        self.lost: list[tuple[str, FedgateError]] = []
        self.told: dict[str, list[int]] = {}
        self.start()

    def start(self) -> None:
        self.outbox = ReportOutbox(
            self.folder,
            self.gateway.coming.append,
            lambda job, error: self.lost.append((job, error)),
        )
        self.unwritten: list[tuple[str, int]] = []
        self.link = False

    def put(self, job: str) -> None:
        number = len(self.told.setdefault(job, []))
        self.told[job].append(number)
        self.unwritten.append((job, number))
        report = pb.AuditReport(job=job, kind="round.finished", data=str(number))
        self.outbox.put(pb.PeerMessage(audit=report))

    async def write(self) -> None:
        await self.outbox._write()
        self.unwritten.clear()

    def up(self) -> None:
        self.down()
        self.outbox.up()
        self.link = True

    def down(self) -> None:
        """Whatever is under way is lost."""
        self.outbox.down()
        self.gateway.coming.clear()
        self.gateway.going.clear()
        self.link = False

    def hear(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.gateway.going))):
            self.outbox.taken(self.gateway.going.pop(0))

    def crash(self) -> None:
        """What was not written is gone; nobody has seen it either."""
        self.down()
        self.outbox._file.close()
        for job, number in self.unwritten:
            self.told[job].remove(number)
        self.start()

    async def settle(self) -> None:
        self.up()
        for _ in range(1000):
            await self.write()
            self.gateway.commit(1000)
            self.hear(1000)
            if not self.outbox._queues and not self.gateway.coming:
                break
        await self.write()


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def peer(tmp_path: Path, gateway: Gateway) -> Peer:
    return Peer(tmp_path, gateway)


def left(folder: Path) -> int:
    with sqlite3.connect(folder / "reports.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM reports").fetchone()[0])


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 60))

    return run


ACTIONS = st.sampled_from(
    ["put a", "put b", "write", "up", "down", "commit", "hear", "crash", "gateway dies"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_any_order_of_sending_breaking_and_crashing_ends_in_all_of_it_once(
    actions: list[str],
) -> None:
    async def run(folder: Path) -> None:
        gateway = Gateway()
        peer = Peer(folder, gateway)
        for action in actions:
            match action.split():
                case ["put", job]:
                    peer.put(job)
                case ["write"]:
                    await peer.write()
                case ["up"]:
                    peer.up()
                case ["commit"]:
                    gateway.commit()
                case ["hear"]:
                    peer.hear()
                case ["crash"]:
                    peer.crash()
                case _:  # "gateway dies": what it has not committed is lost with the link
                    peer.down()
        await peer.settle()
        for job, told in peer.told.items():
            arrived = [int(what) for name, what in gateway.log if name == job]
            assert arrived == told
        assert not peer.lost
        assert left(folder) == 0

    memory = Path("/dev/shm")  # durable enough: nobody cuts the power here
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        asyncio.run(run(Path(folder)))


@in_a_loop
async def test_nothing_is_sent_before_it_is_on_disk(peer: Peer, gateway: Gateway) -> None:
    peer.up()
    peer.put("a")
    assert not gateway.coming
    await peer.write()
    assert (len(gateway.coming), left(peer.folder)) == (1, 1)


@in_a_loop
async def test_a_window_is_under_way_at_a_time(peer: Peer, gateway: Gateway) -> None:
    """So a gateway whose database is away need not keep what its peers can."""
    for _ in range(3 * WINDOW):
        peer.put("a")
    peer.put("b")
    await peer.write()
    peer.up()
    assert len(gateway.coming) == WINDOW + 1
    gateway.commit(10)
    peer.hear(10)
    assert len(gateway.coming) == WINDOW + 1


@in_a_loop
async def test_what_comes_after_waits_until_all_is_taken(peer: Peer, gateway: Gateway) -> None:
    said: list[str] = []
    peer.up()
    peer.outbox.after("a", lambda: said.append("at once"))
    peer.put("a")
    peer.outbox.after("a", lambda: said.append("the end"))
    await peer.write()
    gateway.commit()
    assert said == ["at once"]
    peer.hear()
    assert said == ["at once", "the end"]


@in_a_loop
async def test_a_job_that_tells_more_than_is_kept_is_told_so(
    peer: Peer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_outbox, "JOB_REPORTS", 3)
    for _ in range(5):
        peer.put("a")
    peer.put("b")
    ((job, error),) = peer.lost
    assert (job, error.notice and error.notice.code) == ("a", Code.LOG_FAILED)
    await peer.settle()
    assert gateway.log == [("a", "0"), ("a", "1"), ("a", "2"), ("b", "0")]


@in_a_loop
async def test_a_job_whose_reports_cannot_be_written_is_told_so(
    peer: Peer, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    said: list[str] = []
    monkeypatch.setattr(peer.outbox._file, "change", full)
    peer.up()
    peer.put("a")
    peer.outbox.after("a", lambda: said.append("the end"))
    await peer.write()
    ((job, error),) = peer.lost
    assert job == "a"
    assert "disk is full" in str(error)
    assert said == ["the end"], "the job's end is said even so"
    assert not gateway.coming


@in_a_loop
async def test_an_older_copy_of_the_file_repeats_no_number(peer: Peer, gateway: Gateway) -> None:
    """As after a restore from a backup: what is new then must not pass for what was there."""
    peer.put("a")
    await peer.write()
    copy = (peer.folder / "reports.sqlite").read_bytes()
    wal = (peer.folder / "reports.sqlite-wal").read_bytes()
    await peer.settle()
    peer.crash()
    peer.outbox._file.close()
    (peer.folder / "reports.sqlite").write_bytes(copy)
    (peer.folder / "reports.sqlite-wal").write_bytes(wal)
    peer.start()
    peer.put("a")
    await peer.settle()
    assert gateway.log == [("a", "0"), ("a", "1")]


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "reports.sqlite").write_bytes(b"x" * 5000)
    with pytest.raises(InvalidConfig, match=r"reports\.sqlite"):
        ReportOutbox(tmp_path, lambda _: None, lambda *_: None)


@in_a_loop
async def test_a_program_that_ends_writes_what_is_left_and_waits_for_its_gateway(
    peer: Peer, gateway: Gateway
) -> None:
    peer.up()
    task = asyncio.create_task(peer.outbox.run())
    peer.put("a")
    peer.outbox.close()
    async with asyncio.timeout(60):
        while not gateway.coming:
            await asyncio.sleep(0.01)
        assert not task.done()
        gateway.commit()
        peer.hear()
        await task
