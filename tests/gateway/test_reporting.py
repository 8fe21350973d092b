"""From what peers report over the link to what stands in the log, and back to them: it is taken."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import Denied, InvalidMessage, LimitReached
from fedgate.job import JobEvent, JobState
from fedgate.notice import Notice
from fedgate_gateway.control.filing import Filing
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.records import Decision
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.link.review_answer import ReviewAnswer
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay import reporting
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.link_shares import LinkShares
from fedgate_gateway.relay.reporting import Reporting, ReportQueues
from fedgate_gateway.relay.router import Router
from fedgate_gateway.store.database import DatabaseAway
from fedgate_proto.v1 import link_pb2 as pb

BOX = bytes(range(16))


class Stage:
    """The gateway's end of the link over a real database, with an enclave that nobody reads."""

    def __init__(self, state: Any) -> None:
        self.state = state
        self.connections = Connections()
        self.router = Router(self.connections, state.registry)
        self.ledger = Ledger(Filing(state.database, state.jobs, state.audit), pause=0.01)
        self.scheduler = Scheduler(
            state, self.ledger, self.connections, self.router, None  # type: ignore[arg-type]
        )  # fmt: skip
        self.shares = LinkShares(state.config.limits)
        self.reporting = Reporting(
            state, self.ledger, self.connections, self.router, self.scheduler, self.shares
        )

    def connect(self, kind: PeerKind, name: str) -> Connection:
        connection = Connection(kind, name, pb.PeerHello())
        self.connections.add(connection)
        return connection

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def both() -> None:
            writer = asyncio.create_task(self.ledger.run())
            await work()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

        asyncio.run(asyncio.wait_for(both(), 60))

    def log(self, job: str) -> list[tuple[str, str]]:
        found = self.state.audit.entries(limit=1000, job=job)
        return [(e.entry.kind, e.entry.actor) for e in found if e.entry.kind != "job.transition"]


@pytest.fixture
def stage(state: Any) -> Stage:
    return Stage(state)


@pytest.fixture
def job(state: Any, submit: Any) -> str:
    """It runs, on an enclave of its own."""
    made = submit().id
    for site in state.jobs.job_sites(made):
        state.jobs.set_site_decision(made, site.site, Decision.ACCEPTED)
    state.jobs.transition(made, JobEvent.ACCEPT)
    state.jobs.transition(made, JobEvent.ASSIGN, enclave="enclave-1")
    state.jobs.transition(made, JobEvent.START)
    return str(made)


def entry(job: str, number: int, kind: str = "round.unsent", **told: Any) -> pb.PeerMessage:
    place = pb.OutboxPlace(outbox=BOX, number=number)
    text = json.dumps(told or {"tasks": number})
    return pb.PeerMessage(audit=pb.AuditReport(job=job, kind=kind, data=text, place=place))


def event(job: str, number: int, **told: Any) -> pb.PeerMessage:
    place = pb.OutboxPlace(outbox=BOX, number=number)
    return pb.PeerMessage(report=pb.JobReport(job=job, event=json.dumps(told), place=place))


async def taken(connection: Connection, number: int) -> None:
    """Until the peer has been told that the gateway has it."""
    async with asyncio.timeout(60):
        while True:
            message = await connection.next()
            if message is not None and message.taken.number >= number:
                assert message.taken.outbox == BOX
                return


def test_what_is_written_is_acknowledged_on_whatever_link_the_peer_has(
    stage: Stage, job: str
) -> None:
    async def work() -> None:
        old = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        for number in (1, 2):
            await stage.reporting.take(old, entry(job, number))
        new = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        await taken(new, 2)
        for number in (1, 2, 3):  # again, as after a link that broke
            await stage.reporting.take(new, entry(job, number))
        await stage.reporting.take(new, event(job, 4, kind="metrics", round=1, metrics={"a": 1.0}))
        await taken(new, 4)

    stage.run(work)
    who = "enclave:enclave-1"
    assert [e for e in stage.log(job) if e[1] == who] == [("round.unsent", who)] * 3
    assert len(stage.state.jobs.events(job, kind="metrics")) == 1


def test_a_site_that_is_lost_is_shown_with_the_reason(stage: Stage, job: str) -> None:
    from fedgate.notice import Notice

    site = stage.state.jobs.job_sites(job)[0].site
    notice = Notice(Code.WORKER_DIED)

    async def work() -> None:
        peer = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        lost = event(
            job, 1, kind="site-state", site=site, state="lost", notice=notice.to_text()
        )  # fmt: skip
        await stage.reporting.take(peer, lost)
        await taken(peer, 1)

    stage.run(work)
    shown = stage.state.jobs.job_sites(job)[0]
    assert (shown.state, shown.why) == ("lost", notice.sentence)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"tasks": 2**60}, id="a number that is too large"),
        pytest.param({"tasks": 1, "text": "Patient 4711"}, id="a field that it cannot have"),
    ],
)
def test_an_entry_that_cannot_be_written_fails_its_job_and_says_so(
    stage: Stage, job: str, wrong: dict[str, Any]
) -> None:
    async def work() -> None:
        peer = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        await stage.reporting.take(peer, entry(job, 1, **wrong))
        await stage.reporting.take(peer, entry(job, 2))
        await taken(peer, 2)
        async with asyncio.timeout(60):
            while not stage.state.jobs.get(job).state.final:
                await asyncio.sleep(0.01)

    stage.run(work)
    assert stage.state.jobs.get(job).state is JobState.FAILED
    last = stage.state.jobs.events(job, kind="state")[-1]
    assert last.data["code"] == Code.LOG_FAILED
    kinds = [kind for kind, _ in stage.log(job)]
    assert kinds[-2:] == ["reports.refused", "round.unsent"]


def test_more_events_than_a_job_may_have_in_a_time_cost_no_entry(stage: Stage, job: str) -> None:
    async def work() -> None:
        peer = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        stage.shares._events.share = type(stage.shares._events.share)(1, "reports_kib_per_minute")
        for number in range(1, 11, 2):
            told = {"kind": "metrics", "round": 1, "metrics": {"a": 1.0}}
            await stage.reporting.take(peer, event(job, number, **told))
            await stage.reporting.take(peer, entry(job, number + 1))
        await taken(peer, 10)

    stage.run(work)
    assert len(stage.state.jobs.events(job, kind="metrics")) == 1
    kinds = [kind for kind, _ in stage.log(job)]
    assert kinds.count("round.unsent") == 5
    assert "reports.missing" not in kinds


def test_more_entries_than_a_peer_may_have_in_a_time_wait_and_none_is_lost(
    stage: Stage, job: str
) -> None:
    async def work() -> None:
        peer = stage.connect(PeerKind.ENCLAVE, "enclave-1")
        stage.shares._entries.share = type(stage.shares._entries.share)(1, "reports_kib_per_minute")
        await stage.reporting.take(peer, entry(job, 1))
        flood = asyncio.create_task(stage.reporting.take(peer, entry(job, 2)))
        site = stage.connect(PeerKind.SITE, stage.state.jobs.job_sites(job)[0].site)
        await stage.reporting.take(site, entry(job, 1, "site.refused", notice='{"code":"denied"}'))
        await taken(site, 1)
        assert not flood.done()
        flood.cancel()

    stage.run(work)
    assert [kind for kind, _ in stage.log(job)][-2:] == ["round.unsent", "site.refused"]


def test_reports_of_a_job_that_is_not_the_peers_are_done_with(stage: Stage, job: str) -> None:
    """Otherwise its outbox would keep them for ever."""

    async def work() -> None:
        stranger = stage.connect(PeerKind.ENCLAVE, "enclave-2")
        queues = ReportQueues(stranger, stage.reporting)
        queues.put(job, entry(job, 1))
        queues.put("job-of-nobody", entry("job-of-nobody", 1))
        for _ in range(2):
            await taken(stranger, 1)

    stage.run(work)
    assert "enclave:enclave-2" not in {actor for _, actor in stage.log(job)}


class Slow:
    """Takes what it is allowed to; the first attempt of each finds the database away."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, int]] = []
        self.tried: set[tuple[str, int]] = set()
        self.held = {"held"}

    async def take(self, _: Connection, message: pb.PeerMessage) -> None:
        one = (message.audit.job, message.audit.place.number)
        if one not in self.tried:
            self.tried.add(one)
            raise DatabaseAway("it is away")
        while one[0] in self.held:
            await asyncio.sleep(0.01)
        self.taken.append(one)


def test_each_job_has_its_own_order_and_waits_for_no_other(monkeypatch: Any) -> None:
    monkeypatch.setattr(reporting, "_PAUSE", 0.001)

    async def work() -> None:
        slow = Slow()
        queues = ReportQueues(Connection(PeerKind.SITE, "site-1", pb.PeerHello()), slow)  # type: ignore[arg-type]
        for number in range(1, 6):
            queues.put("held", entry("held", number))
            queues.put("free", entry("free", number))
        async with asyncio.timeout(60):
            while len(slow.taken) < 5:
                await asyncio.sleep(0.01)
            assert slow.taken == [("free", n) for n in range(1, 6)]
            slow.held.clear()
            while len(slow.taken) < 10:
                await asyncio.sleep(0.01)
        assert slow.taken[5:] == [("held", n) for n in range(1, 6)]

    asyncio.run(work())


def test_a_peer_that_keeps_to_no_window_is_stopped(monkeypatch: Any) -> None:
    monkeypatch.setattr(reporting, "_MOST", 10)

    async def work() -> None:
        queues = ReportQueues(Connection(PeerKind.SITE, "site-1", pb.PeerHello()), Slow())  # type: ignore[arg-type]
        for number in range(1, 11):
            queues.put("held", entry("held", number))
        with pytest.raises(LimitReached):
            queues.put("held", entry("held", 11))
        queues.close()

    asyncio.run(work())


def test_of_an_answer_in_review_a_code_and_what_it_names_are_kept_and_no_text(
    stage: Stage, state: Any, submit: Any
) -> None:
    job, site = submit().id, stage.connect(PeerKind.SITE, "site-1")
    secret = "Patient 7"
    no = Denied(secret, why=secret, notice=Notice(Code.LACKS_DATASET), about=("payroll", secret))

    async def work() -> None:
        text = pb.OfferReply(job=job, notice=secret, about=[secret])
        with pytest.raises(InvalidMessage):
            await stage.reporting.take(site, pb.PeerMessage(offer_reply=text))
        assert state.jobs.job_sites(job)[0].decision is Decision.PENDING
        reply = ReviewAnswer.no(no).reply(job, b"")
        await stage.reporting.take(site, pb.PeerMessage(offer_reply=reply))

    stage.run(work)
    decided = state.jobs.job_sites(job)[0]
    assert (decided.decision, decided.reason) == (
        Decision.DENIED, "this site has no dataset: payroll",
    )  # fmt: skip
    assert secret not in str(state.audit.entries(limit=1000, job=job))
