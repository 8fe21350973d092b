"""Before anybody waits: which sites are there, have what a job needs, and until when it waits."""

from __future__ import annotations

import asyncio
import threading
from datetime import datetime, timedelta

from fedgate.job import JobEvent
from fedgate_gateway.control.availability import Offer, decided
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import Decision

HAS_ALL = Offer(frozenset({"toml"}), frozenset({"patients", "secret-cohort"}))
HAS_NOTHING = Offer(frozenset({"flower"}), frozenset({"secret-cohort"}))


def link(state, **offers):
    state.site_offer = lambda site: offers.get(site.replace("-", "_"))


def asked(client, token, job, *, project="health", wait=0):
    headers = token(Scope.JOBS_READ, projects=(project,))
    return client.get(f"/api/v1/jobs/{job}/availability?wait={wait}", headers=headers)


def test_it_says_who_is_there_and_who_lacks_what(client, state, submit, token):
    job = submit(datasets=("patients",), min_sites=1)
    link(state, site_1=HAS_ALL, site_2=HAS_NOTHING)
    state.runs_framework = lambda framework: framework == "toml"
    told = asked(client, token, job.id).json()
    assert [(s["site"], s["online"], s["lacks"]) for s in told["sites"]] == [
        ("site-1", True, []),
        ("site-2", True, ["dataset patients", "adapter toml"]),
        ("site-3", False, []),
    ]
    assert told["enclave"] is True
    assert told["min_sites"] == 1
    assert datetime.fromisoformat(told["goes_on"]) == job.created + timedelta(seconds=30)


def test_nobody_learns_what_else_a_site_has(client, state, submit, token):
    job = submit(datasets=("patients",))
    link(state, site_1=HAS_ALL, site_2=HAS_NOTHING)
    assert "secret-cohort" not in asked(client, token, job.id).text
    assert asked(client, token, job.id, project="other").status_code == 404


def test_it_waits_for_linked_sites_to_answer_and_for_no_others(client, state, submit, token):
    job = submit(min_sites=1)
    link(state, site_1=HAS_ALL)
    say = threading.Timer(
        0.2, state.jobs.set_site_decision, (job.id, "site-1", Decision.DENIED, "numpy is missing")
    )
    say.start()
    told = asked(client, token, job.id, wait=10).json()
    say.join()
    first = told["sites"][0]
    assert (first["decision"], first["reason"]) == ("denied", "numpy is missing")


def test_it_waits_for_nobody_where_nobody_is_linked(state, submit):
    job = submit()
    link(state)
    asyncio.run(decided(state.jobs, job.id, state.site_offer, seconds=60))


def test_a_job_that_went_on_says_who_was_given_up_on(client, state, submit, token, admin):
    job = submit(min_sites=1)
    link(state, site_1=HAS_ALL)
    state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)
    state.jobs.transition(job.id, JobEvent.ACCEPT)
    told = asked(client, token, job.id).json()
    assert told["goes_on"] is None
    shown = client.get(f"/api/v1/jobs/{job.id}", headers=admin).json()["sites"]
    for sites in (told["sites"], shown):
        reasons = [site["reason"] for site in sites]
        assert not reasons[0]
        assert "the job went on without it" in reasons[2]
