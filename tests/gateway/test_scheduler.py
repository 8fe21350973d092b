"""Who is next: everybody's turn comes, and no job stops another."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from fedgate.bundle import pack_files
from fedgate.codes import SENTENCES, Code
from fedgate.errors import Conflict
from fedgate.job import JobEvent, JobState
from fedgate_gateway.config import Release
from fedgate_gateway.control import faults
from fedgate_gateway.control.fair_order import FairOrder
from fedgate_gateway.control.faults import Faults
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.records import Decision, JobRecord, SubmitOptions
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.pki import PeerKind
from fedgate_gateway.relay.connections import Connection, Connections
from fedgate_gateway.relay.router import Router
from fedgate_proto.v1 import link_pb2 as pb


class Inline:
    """A ledger that writes at once."""

    async def do(self, call: Callable[[], Any]) -> Any:
        return call()


class NoSpool:
    def forget_job(self, job: str) -> None:
        pass


class Stage:
    """A scheduler over a real database; peers are connections that nobody reads."""

    def __init__(self, state: Any, archive: bytes, signed: Callable[..., bytes]) -> None:
        self.state, self.archive, self.signed = state, archive, signed
        self.connections = Connections()
        self.router = Router(self.connections, state.registry)
        self.scheduler = Scheduler(state, Inline(), self.connections, self.router, NoSpool())  # type: ignore[arg-type]

    def connect(self, kind: PeerKind, name: str, jobs: int, **has: float) -> None:
        frameworks = [pb.Framework(name="toml")]
        hello = pb.PeerHello(max_jobs=jobs, frameworks=frameworks, resources=has)
        self.connections.add(Connection(kind, name, hello))

    def queued(self, who: str, project: str = "health", **options: Any) -> str:
        principal = Principal(who, "", frozenset({Scope.JOBS_WRITE}))
        request = self.signed(self.archive, project=project, submitter=who, **options)
        submitting = self.state.jobs.submit(self.archive, SubmitOptions(request), principal)
        job = asyncio.run(submitting)
        for site in self.state.jobs.job_sites(job.id):
            self.state.jobs.set_site_decision(job.id, site.site, Decision.ACCEPTED)
        self.state.jobs.transition(job.id, JobEvent.ACCEPT)
        return str(job.id)

    def look(self) -> None:
        asyncio.run(self.scheduler.reconcile())

    def under_way(self) -> list[str]:
        return [job.id for job in self.state.jobs.in_states(JobState.STARTING)]

    def end(self, job: str) -> None:
        self.state.jobs.transition(job, JobEvent.CANCEL)
        self.look()


@pytest.fixture
def stage(state: Any, archive: bytes, signed: Callable[..., bytes]) -> Stage:
    return Stage(state, archive, signed)


def record(number: int, project: str, submitter: str) -> JobRecord:
    fields = {f.name: None for f in dataclasses.fields(JobRecord)}
    return JobRecord(**{**fields, "id": f"{number:03}", "project": project, "submitter": submitter})  # type: ignore[arg-type]


def order(queued: list[tuple[str, str]], under_way: list[tuple[str, str]] = []) -> list[int]:  # noqa: B006
    made = [record(n, *who) for n, who in enumerate(queued)]
    return [int(j.id) for j in FairOrder().of(made, [record(900, *who) for who in under_way])]


def test_projects_take_turns_and_then_their_submitters_oldest_first() -> None:
    a, b, c = ("p", "ann"), ("p", "bob"), ("q", "cem")
    assert order([a, a, a]) == [0, 1, 2]
    assert order([a, a, a, b]) == [0, 3, 1, 2]
    assert order([a, a, a, b, c, c]) == [0, 4, 3, 5, 1, 2]
    assert order([a, b, c], under_way=[a]) == [2, 1, 0]
    assert order([a, b, c], under_way=[a, c]) == [1, 2, 0]
    assert order([]) == []


def test_many_jobs_of_one_submitter_keep_nobody_else_waiting(stage: Stage) -> None:
    stage.connect(PeerKind.ENCLAVE, "enclave-1", 1)
    many = [stage.queued("ann") for _ in range(8)]
    stage.look()
    assert stage.under_way() == many[:1]
    one, other = stage.queued("bob"), stage.queued("cem", "other")
    for expected in (other, one, many[1], many[2]):
        (running,) = stage.under_way()
        stage.end(running)
        assert stage.under_way() == [expected]


def test_a_job_that_waits_for_a_busy_site_blocks_no_other(stage: Stage) -> None:
    stage.connect(PeerKind.ENCLAVE, "enclave-1", 9)
    stage.connect(PeerKind.SITE, "site-1", 1)
    first = stage.queued("ann", sites=("site-1",))
    stage.look()
    large, small = stage.queued("ann"), stage.queued("ann", sites=("site-2",))
    stage.look()
    assert stage.under_way() == [first, small]
    stage.end(first)
    assert set(stage.under_way()) == {small, large}


def test_a_job_waits_for_the_gpu_that_another_holds_and_whoever_watches_reads_so(
    stage: Stage,
) -> None:
    stage.connect(PeerKind.ENCLAVE, "enclave-1", 9)
    stage.connect(PeerKind.SITE, "site-1", 9, num_of_gpus=1)
    plain, site = stage.archive, ("site-1",)
    wants = b'name = "gpu"\nresources = {"site-1:num_of_gpus" = 1}\n'
    stage.archive = pack_files({"workload.toml": wants})
    first, second = stage.queued("ann", sites=site), stage.queued("ann", sites=site)
    stage.archive = plain
    other = stage.queued("ann", sites=site)  # which needs none
    for _ in range(2):
        stage.look()
        assert stage.under_way() == [first, other]
        (told,) = stage.state.jobs.events(second, kind="waiting")
        assert told.data["reason"] == "site site-1: num_of_gpus = 1 (1 declared, 1 in use)"
    stage.end(first)
    assert set(stage.under_way()) == {second, other}


def test_a_job_that_raises_stops_no_other_and_ends_with_a_reason(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    stage.scheduler._faults = Faults(lambda: now[0])
    stage.connect(PeerKind.ENCLAVE, "enclave-1", 9)
    bad, good = stage.queued("ann"), stage.queued("ann")
    read = stage.state.jobs.job_sites

    def damaged(job: str) -> Any:
        if job == bad:
            raise KeyError("Patient 4711")
        return read(job)

    monkeypatch.setattr(stage.state.jobs, "job_sites", damaged)
    stage.look()
    assert stage.under_way() == [good]
    assert stage.state.jobs.get(bad).state is JobState.QUEUED  # it may have been a moment's trouble
    now[0] = faults.GIVE_UP_SECONDS
    stage.look()
    ended = stage.state.jobs.get(bad)
    assert ended.state is JobState.FAILED
    assert "cannot move it on: KeyError" in ended.reason
    assert "Patient" not in ended.reason
    assert stage.under_way() == [good]


def test_trouble_that_passes_is_forgotten() -> None:
    now = [0.0]
    book = Faults(lambda: now[0])
    assert not book.add("job-1")
    now[0] = faults.GIVE_UP_SECONDS - 1
    book.clear("job-1")
    assert not book.add("job-1")
    now[0] = 2 * faults.GIVE_UP_SECONDS
    assert book.add("job-1")
    book.keep([])
    assert not book.add("job-1")


def test_what_a_project_shows_to_everybody_is_marked_in_the_job_and_in_the_log(
    stage: Stage,
) -> None:
    stage.connect(PeerKind.ENCLAVE, "enclave-1", 1)
    job = stage.queued("ann")
    assert list(stage.state.jobs.in_clear(job)) == []
    stage.look()
    clear = [*Release(logs="clear", model="clear").in_clear(), "Patient 7"]
    started = pb.JobReport(job=job, started="simulated", clear=clear)
    enclave = stage.connections.enclave("enclave-1")
    asyncio.run(stage.scheduler.report(enclave, started))
    assert stage.state.jobs.in_clear(job) == ["model", "logs"]
    entries = stage.state.audit.entries(0, 100, job=job, kind="job.transition")
    assert [e.entry.data["clear"] for e in entries if "clear" in e.entry.data] == [
        ["model", "logs"]
    ]


# -- sites that do not decide --------------------------------------------------------------------


def in_review(stage: Stage, sites: tuple[str, ...] = ("site-1", "site-2")) -> str:
    """Its first site has accepted it."""
    principal = Principal("ann", "", frozenset({Scope.JOBS_WRITE}))
    request = stage.signed(
        stage.archive, project="health", submitter="ann", sites=sites, min_sites=1
    )  # fmt: skip
    options = SubmitOptions(request)
    job = str(asyncio.run(stage.state.jobs.submit(stage.archive, options, principal)).id)
    stage.state.jobs.set_site_decision(job, sites[0], Decision.ACCEPTED)
    return job


def decisions(stage: Stage, job: str) -> list[tuple[Decision, str]]:
    return [(site.decision, site.reason) for site in stage.state.jobs.job_sites(job)]


def given_up(stage: Stage, job: str) -> list[tuple[str, str]]:
    """What the log says of sites that did not decide: (site, code)."""
    found = stage.state.audit.entries(limit=1000, job=job)
    told = [e.entry.data for e in found if e.entry.kind == "job.site-decision"]
    shown = [e.data for e in stage.state.jobs.events(job, kind="site")]
    assert shown == [dict(each) for each in told], "people read what the log says"
    return [(each["site"], each["code"]) for each in told if each["decision"] == "absent"]


@pytest.mark.parametrize("connected", [False, True])
def test_a_job_that_goes_on_without_a_site_says_so(
    stage: Stage, connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = in_review(stage)
    if connected:
        stage.connect(PeerKind.SITE, "site-2", 1)
    stage.look()
    assert decisions(stage, job)[1] == (Decision.PENDING, "")
    monkeypatch.setattr("fedgate_gateway.control.scheduler.REVIEW_SECONDS", -1.0)
    stage.look()
    code = Code.NO_ANSWER if connected else Code.SITE_OFFLINE
    assert stage.state.jobs.get(job).state is JobState.QUEUED
    assert decisions(stage, job)[1] == (Decision.ABSENT, SENTENCES[code])
    assert given_up(stage, job) == [("site-2", code)]
    with pytest.raises(Conflict, match="went on without 'site-2'"):
        stage.state.jobs.set_site_decision(job, "site-2", Decision.ACCEPTED)


@pytest.mark.parametrize("event", [JobEvent.CANCEL, JobEvent.EXPIRE, JobEvent.DENY])
def test_no_site_is_pending_once_its_job_has_ended(stage: Stage, event: JobEvent) -> None:
    job = in_review(stage)
    stage.state.jobs.transition(job, event)
    assert decisions(stage, job)[1] == (Decision.ABSENT, SENTENCES[Code.NOT_DECIDED])
    assert given_up(stage, job) == [("site-2", Code.NOT_DECIDED)]
    last = stage.state.jobs.events(job)[-1]
    assert last.kind == "state", "whoever watches reads all before the end"
