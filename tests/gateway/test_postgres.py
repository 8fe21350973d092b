"""The same state on a real PostgreSQL: migrations, row locks, and the log in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fedgate.errors import InvalidTransition, Unauthenticated
from fedgate.job import JobEvent
from fedgate_gateway.api.app import create_app
from fedgate_gateway.control.filing import Filing, Report
from fedgate_gateway.control.ledger import Ledger
from fedgate_gateway.control.records import SubmitOptions
from fedgate_gateway.control.state import GatewayState, open_gateway_state

pytestmark = pytest.mark.e2e


@pytest.fixture
def state(postgresql, tmp_path, make_config, inspector) -> Iterator[GatewayState]:
    config = make_config(tmp_path / "data").model_copy(update={"database": postgresql.url})
    opened = open_gateway_state(config, inspector=inspector)
    yield opened
    with opened.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    opened.close()


def test_models_and_migrations_agree(state):
    assert state.database.differences() == []
    state.database.migrate()
    state.database.check()


def test_a_job_lives_its_life_and_the_log_proves_it(state, submit):
    job = submit()
    sites = [site.site for site in state.jobs.job_sites(job.id)]
    for event in (JobEvent.ACCEPT, JobEvent.ASSIGN, JobEvent.START):
        state.jobs.transition(job.id, event)
    state.jobs.record(job.id, "round", {"number": 1})
    state.jobs.transition(job.id, JobEvent.SUCCEED)
    assert len(state.jobs.events(job.id)) == 7 + len(sites)  # nobody waited for their answers
    kinds = [found.entry.kind for found in state.audit.entries(limit=1000, job=job.id)]
    decided = ["job.site-decision"] * len(sites)
    assert kinds == ["job.submitted", "job.transition", *decided, *["job.transition"] * 4]
    assert state.audit.checkpoint()


def test_two_cannot_both_take_a_job(state, submit):
    job = submit()
    state.jobs.transition(job.id, JobEvent.ACCEPT)

    def take(name):
        try:
            return state.jobs.transition(job.id, JobEvent.ASSIGN, enclave=name).enclave
        except InvalidTransition:
            return None

    with ThreadPoolExecutor(6) as pool:
        winners = [name for name in pool.map(take, [f"tee-{n}" for n in range(6)]) if name]
    assert len(winners) == 1
    assert state.jobs.get(job.id).enclave == winners[0]


def test_the_same_submission_at_the_same_time_makes_one_job(state, token, archive, signed):
    text = token()["Authorization"].removeprefix("Bearer ")
    who = state.tokens.authenticate(text)
    options = SubmitOptions(signed(archive), idempotency_key="k")

    async def run():
        return await asyncio.gather(*(state.jobs.submit(archive, options, who) for _ in range(5)))

    assert len({job.id for job in asyncio.run(run())}) == 1


def test_the_api_works_on_it(state, token, submit):
    job = submit()
    with TestClient(create_app(state)) as client:
        assert client.get("/readyz").status_code == 200
        listed = client.get("/api/v1/jobs", headers=token()).json()
    assert [found["id"] for found in listed["jobs"]] == [job.id]


def test_an_enrolment_token_works_once_even_at_the_same_time(state, newcomer):
    """Here writers do not wait for each other: only the conditional update keeps them apart."""
    token = state.enrolments.invite("site", "site-1").token

    def attempt(request):
        try:
            return state.enrolments.redeem(request)
        except Unauthenticated:
            return None

    with ThreadPoolExecutor(8) as pool:
        issued = list(pool.map(attempt, [newcomer(token).request() for _ in range(8)]))
    assert sum(found is not None for found in issued) == 1


def test_one_gateway_holds_the_database_and_notices_when_it_lost_it(state):
    from fedgate.errors import Conflict
    from fedgate_gateway.store.lease import take_lease

    database = state.database
    first = take_lease(database, Path("unused"))
    with pytest.raises(Conflict, match="another gateway runs"):
        take_lease(database, Path("unused"), patience=0.3)
    first.check()
    with database.engine.begin() as connection:  # a restart of the server, or a cut connection
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
        )
        connection.exec_driver_sql(others)
    second = take_lease(database, Path("unused"), patience=5)
    with pytest.raises(Conflict):
        first.check()
    second.release()
    first.check()
    first.release()


def test_a_server_that_is_killed_and_started_again_costs_no_entry(state, postgresql, submit):
    """It dies among commits: what was acknowledged is there, what was not is written again."""
    job = submit().id
    state.jobs.transition(job, JobEvent.ACCEPT)
    last, told = 400, []

    def restart() -> None:
        postgresql.kill()
        time.sleep(0.5)
        postgresql.start()

    async def run() -> None:
        ledger = Ledger(Filing(state.database, state.jobs, state.audit))
        ledger.on_taken(told.extend)
        writer = asyncio.create_task(ledger.run())
        killing = asyncio.create_task(asyncio.to_thread(restart))
        for number in range(1, last + 1):
            entry = {"entry": "round.finished", "data": {"round": number}}
            await ledger.file(Report("enclave:e", job, bytes(16), number, **entry))
            await asyncio.sleep(0.002)
        assigned = await ledger.do(
            lambda: state.jobs.transition(job, JobEvent.ASSIGN, enclave="e")
        )  # fmt: skip
        assert assigned.enclave == "e"
        await killing
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)

    asyncio.run(asyncio.wait_for(run(), 150))
    assert [report.number for report in told] == list(range(1, last + 1))
    found = [e.entry for e in state.audit.entries(limit=1000, job=job)]
    rounds = [e.data["round"] for e in found if e.kind == "round.finished"]
    assert rounds == list(range(1, last + 1))
    assert state.audit.checkpoint()
