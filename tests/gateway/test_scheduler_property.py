"""Whatever comes and goes in whatever order: once all is calm nobody holds a job that is not under
way with it, and no job waits for ever. Seeded: a failure names what repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from fedgate.job import JobEvent, JobState
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.records import Decision, SubmitOptions
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.router import Router
from fedgate_proto.v1 import link_pb2 as pb

SEED = int(os.environ.get("SEED", "1"))
BOOKS = ("_offered", "_joined", "_assigned", "_refused", "_starting", "_absent", "_missing")
SITES, ENCLAVES = ("site-1", "site-2"), ("enclave-1", "enclave-2")


class Ledger:
    """Writes in order, and lets others run before and after."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def do(self, call: Callable[[], Any]) -> Any:
        async with self._turn:
            await asyncio.sleep(0)
            return call()


class NoSpool:
    def forget_job(self, job: str) -> None:
        pass


class Peer:
    """Does as sites and enclaves do, as far as a scheduler sees it."""

    def __init__(self, kind: PeerKind, name: str) -> None:
        self.kind, self.name = kind, name
        self.holds: set[str] = set()
        self.connection: Connection | None = None

    def read(self) -> None:
        while self.connection is not None and not self.connection.queue.empty():
            message = self.connection.queue.get_nowait()[0]
            match message and message.WhichOneof("body"):
                case "join" | "assign" as body:
                    self.holds.add(getattr(message, body).job)
                case "over":
                    self.holds.discard(message.over.job)


class World:
    def __init__(self, state: Any, archive: bytes, signed: Any, chance: random.Random) -> None:
        self.state, self.archive, self.signed, self.chance = state, archive, signed, chance
        self.now = 0.0
        self.connections = Connections()
        router = Router(self.connections, state.registry)
        self.router = router
        self.scheduler = Scheduler(
            state,
            Ledger(),
            self.connections,
            router,
            NoSpool(),
            lambda: self.now,  # type: ignore[arg-type]
        )
        kinds = [(PeerKind.SITE, n) for n in SITES] + [(PeerKind.ENCLAVE, n) for n in ENCLAVES]
        self.peers = [Peer(*one) for one in kinds]

    async def submit(self) -> None:
        who = Principal("ann", "", frozenset({Scope.JOBS_WRITE}))
        request = self.signed(self.archive, submitter="ann", sites=SITES)
        job = await self.state.jobs.submit(self.archive, SubmitOptions(request), who)
        for site in SITES:
            self.state.jobs.set_site_decision(job.id, site, Decision.ACCEPTED)
        self.state.jobs.transition(job.id, JobEvent.ACCEPT)

    async def connect(self, peer: Peer) -> None:
        peer.read()
        if self.chance.random() < 0.3:
            peer.holds.clear()  # its process was restarted
        hello = pb.PeerHello(
            max_jobs=3, frameworks=[pb.Framework(name="toml")], jobs=sorted(peer.holds)
        )
        peer.connection = Connection(peer.kind, peer.name, hello)
        self.connections.add(peer.connection)
        await self.scheduler.connected(peer.connection)

    async def disconnect(self, peer: Peer) -> None:
        if peer.connection is not None and self.connections.remove(peer.connection):
            self.scheduler.disconnected(peer.connection)
        peer.connection = None  # with whatever was unread

    async def say(self, peer: Peer) -> None:
        peer.read()
        if peer.kind is PeerKind.SITE or peer.connection is None or not peer.holds:
            return
        job = self.chance.choice(sorted(peer.holds))
        what = self.chance.choice(("started", "finished", "refused"))
        report = pb.JobReport(job=job)
        if what == "started":
            report.started = "simulated"
        elif what == "finished":
            report.finished.CopyFrom(pb.Finished(succeeded=True))
        else:
            report.refused = '{"code":"no-room","numbers":{"jobs":1}}'
            peer.holds.discard(job)
        await self.scheduler.report(peer.connection, report)

    async def cancel(self) -> None:
        jobs = self.state.jobs.in_states(JobState.QUEUED, JobState.STARTING, JobState.RUNNING)
        if jobs:
            self.state.jobs.transition(self.chance.choice(jobs).id, JobEvent.CANCEL)

    async def step(self) -> None:
        """Some things at once, in the order that chance lets them run."""
        peer = self.chance.choice(self.peers)
        some: list[Callable[[], Any]] = [
            lambda: self.connect(peer), lambda: self.disconnect(peer), lambda: self.say(peer),
            self.scheduler.reconcile, self.scheduler.reconcile, self.cancel, self.submit,
        ]  # fmt: skip
        weights = (4, 2, 4, 4, 0, 1, 2)
        chosen = self.chance.choices(some, weights, k=self.chance.randint(1, 3))
        reconciles = [c for c in chosen if c == self.scheduler.reconcile]
        for extra in reconciles[1:]:  # there is one loop that reconciles
            chosen.remove(extra)
        await asyncio.gather(*(one() for one in chosen))
        self.now += self.chance.choice((0.1, 1.0, 20.0))

    async def calm(self) -> None:
        for peer in self.peers:
            if peer.connection is None:
                await self.connect(peer)
        for _ in range(3):
            await self.scheduler.reconcile()
            for peer in self.peers:
                peer.read()


@pytest.mark.parametrize("number", range(6))
def test_nobody_holds_what_is_not_under_way_and_nothing_waits_for_ever(
    state: Any, archive: bytes, signed: Any, number: int
) -> None:
    async def test() -> None:
        world = World(state, archive, signed, random.Random(f"{SEED} {number}"))
        for _ in range(40):
            await world.step()
        await world.calm()
        active = {j.id: j for j in state.jobs.in_states(JobState.STARTING, JobState.RUNNING)}
        for peer in world.peers:
            for job in peer.holds:
                assert job in active, (SEED, number, peer.name)
                if peer.kind is PeerKind.ENCLAVE:
                    assert active[job].enclave == peer.name, (SEED, number)
        for job in active.values():
            for peer in world.peers:
                if peer.name == job.enclave or peer.kind is PeerKind.SITE:
                    assert job.id in peer.holds, (SEED, number, peer.name, job.state)
        assert set(world.router.routes) == set(active)
        world.now += state.config.limits.starting_seconds + 1
        await world.calm()
        await world.calm()
        late = [j for j in state.jobs.in_states(JobState.STARTING) if j.id in active]
        assert late == [], (SEED, number)
        for job in state.jobs.in_states(JobState.QUEUED, JobState.STARTING, JobState.RUNNING):
            state.jobs.transition(job.id, JobEvent.CANCEL)
        await world.calm()
        scheduler = world.scheduler
        for name in (
            "_offered",
            "_joined",
            "_assigned",
            "_refused",
            "_starting",
            "_absent",
            "_missing",
        ):
            assert getattr(scheduler, name) == {}, (SEED, number, name)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_job_that_starts_anew_comes_to_a_site_that_was_in_it_before(
    state: Any, archive: bytes, signed: Any
) -> None:
    async def test() -> None:
        world = World(state, archive, signed, random.Random(1))
        site, _, enclave, other = world.peers
        await world.submit()
        await world.connect(enclave)
        await world.scheduler.reconcile()
        (job,) = state.jobs.in_states(JobState.STARTING)
        hello = pb.PeerHello(max_jobs=3, jobs=[job.id])  # it came back, and is in it
        site.connection = Connection(site.kind, site.name, hello)
        world.connections.add(site.connection)
        await world.scheduler.reconcile()
        await world.disconnect(enclave)
        await world.scheduler.reconcile()
        world.now += 1000
        await world.scheduler.reconcile()
        await world.connect(other)
        await world.scheduler.reconcile()
        told = []
        while not site.connection.queue.empty():
            message = site.connection.queue.get_nowait()[0]
            told.append(message.WhichOneof("body"))
        assert [body for body in told if body != "peer"][-2:] == ["over", "join"]

    asyncio.run(asyncio.wait_for(test(), 60))
