"""What the answers of a job's sites come to, also where the workload cannot do without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fedgate.job import JobState
from fedgate_gateway.control.records import Decision, JobSite
from fedgate_gateway.control.review import may_go_on, refusal
from fedgate_gateway.control.scheduler import Scheduler
from fedgate_gateway.relay.connections import Connections
from fedgate_gateway.relay.router import Router

YES, NO, OPEN = Decision.ACCEPTED, Decision.DENIED, Decision.PENDING


def answers(*decisions: Decision) -> list[JobSite]:
    return [JobSite(f"site-{n}", d, f"reason {n}") for n, d in enumerate(decisions, 1)]


def test_a_site_that_is_needed_and_declines_ends_it_at_once_by_its_name() -> None:
    sites = answers(OPEN, NO, OPEN, NO)
    assert refusal(sites, mandatory=["site-2"], min_sites=1) == (
        "the workload cannot go on without site-2: site-2: reason 2"
    )
    assert refusal(sites, mandatory=["site-3"], min_sites=1) == ""
    assert refusal(sites, mandatory=[], min_sites=3) == "site-2: reason 2; site-4: reason 4"


@pytest.mark.parametrize(
    ("sites", "waited", "goes"),
    [
        (answers(YES, NO), False, True),
        (answers(YES, OPEN), False, False),
        (answers(YES, OPEN), True, True),
        (answers(OPEN, YES), True, False),  # the one that has not answered is needed
    ],
)
def test_it_does_not_go_on_without_a_site_that_is_needed(
    sites: list[JobSite], waited: bool, goes: bool
) -> None:
    assert may_go_on(sites, mandatory=["site-1"], min_sites=1, waited=waited) == goes


def test_a_job_whose_mandatory_site_declines_is_denied_while_others_still_think(
    state: Any, submit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Inline:
        async def do(self, call: Callable[[], Any]) -> Any:
            return call()

    job = submit()
    found = state.jobs.bundle(job.bundle)
    needs = replace(found, manifest=replace(found.manifest, mandatory=("site-2",)))
    monkeypatch.setattr(state.jobs, "bundle", lambda _digest: needs)
    state.jobs.set_site_decision(job.id, "site-2", NO, "its policy says no")
    connections = Connections()
    spool: Any = None
    ledger: Any = Inline()
    router = Router(connections, state.registry)
    asyncio.run(Scheduler(state, ledger, connections, router, spool).reconcile())
    ended = state.jobs.get(job.id)
    assert ended.state is JobState.DENIED
    assert "without site-2: site-2: its policy says no" in ended.reason
