"""Jobs: states, events, sites, outputs; whatever changes is in the log, or did not change."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedgate.errors import (
    Conflict,
    Denied,
    InvalidMessage,
    InvalidTransition,
    LimitReached,
    NotFound,
)
from fedgate.job import TRANSITIONS, JobEvent, JobState
from fedgate_gateway.control.cursor import decode_cursor, encode_cursor
from fedgate_gateway.control.ids import JOB_ID, new_job_id
from fedgate_gateway.control.principal import Principal, Scope
from fedgate_gateway.control.records import Decision, OutputKind
from fedgate_gateway.store import StoredObject
from fedgate_gateway.store.base import utc_now


def logged(state, kind, job=None):
    return [found.entry for found in state.audit.entries(limit=1000, job=job, kind=kind)]


def test_a_submitted_job_waits_in_review_with_its_sites_pending(state, submit):
    job = submit(sites=("site-2", "site-1"), datasets=("d",), config={"lr": 0.5})
    assert re.fullmatch(JOB_ID, job.id)
    assert (job.state, job.name, job.framework) == (JobState.IN_REVIEW, "mean", "toml")
    assert (job.sites, job.datasets, job.config) == (("site-2", "site-1"), ("d",), {"lr": 0.5})
    assert job.pending_until - job.created == timedelta(seconds=3600)
    assert {site.decision for site in state.jobs.job_sites(job.id)} == {Decision.PENDING}
    assert state.jobs.get(job.id) == job
    assert [event.data["state"] for event in state.jobs.events(job.id)] == [
        "submitted",
        "in_review",
    ]


def test_the_bundle_comes_back_byte_for_byte(state, submit, archive):
    job = submit()
    assert asyncio.run(state.jobs.bundle_archive(job.bundle)) == archive
    assert state.jobs.bundle(job.bundle).manifest.name == "mean"


def test_the_same_bundle_twice_is_stored_once(state, submit):
    first, second = submit(), submit()
    assert first.id != second.id
    assert first.bundle == second.bundle
    assert len(asyncio.run(state.objects.keys())) == 1


def test_every_transition_is_in_the_events_and_in_the_audit_log(state, submit):
    job = submit()
    jobs = state.jobs
    jobs.transition(job.id, JobEvent.ACCEPT)
    jobs.transition(job.id, JobEvent.ASSIGN, enclave="tee-1")
    assert jobs.get(job.id).enclave == "tee-1"
    jobs.transition(job.id, JobEvent.REQUEUE, reason="the enclave vanished")
    assert jobs.get(job.id).enclave == ""
    jobs.transition(job.id, JobEvent.ASSIGN, enclave="tee-2")
    jobs.transition(job.id, JobEvent.START, data={"sites": 3})
    ended = jobs.transition(job.id, JobEvent.SUCCEED)
    path = [e.data["state"] for e in jobs.events(job.id, kind="state")]
    assert path == [
        "submitted", "in_review", "queued", "starting",
        "queued", "starting", "running", "succeeded",
    ]  # fmt: skip
    entries = logged(state, "job.transition", job.id)
    assert [entry.data["state"] for entry in entries] == path[1:]
    assert entries[-2].data["enclave"] == "tee-2"
    assert entries[-2].data["sites"] == 3
    assert ended.started <= ended.ended


def test_an_impossible_transition_changes_nothing(state, submit):
    job = submit()
    before = (state.jobs.events(job.id), state.audit.size())
    with pytest.raises(InvalidTransition, match="cannot succeed"):
        state.jobs.transition(job.id, JobEvent.SUCCEED)
    assert (state.jobs.events(job.id), state.audit.size()) == before
    assert state.jobs.get(job.id) == job


def test_a_state_that_cannot_be_logged_is_not_entered(state, submit, monkeypatch):
    job = submit()

    def refuse(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(state.audit, "append", refuse)
    with pytest.raises(OSError):
        state.jobs.transition(job.id, JobEvent.ACCEPT)
    assert state.jobs.get(job.id).state is JobState.IN_REVIEW
    assert len(state.jobs.events(job.id)) == 2


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(list(JobEvent)), max_size=12))
def test_whatever_happens_state_events_and_log_tell_the_same_story(state, submit, steps):
    job = submit()
    expected = JobState.IN_REVIEW
    story = ["submitted", "in_review"]
    for step in steps:
        if step in TRANSITIONS[expected]:
            expected = TRANSITIONS[expected][step]
            story.append(expected.value)
            state.jobs.transition(job.id, step)
        else:
            with pytest.raises(InvalidTransition):
                state.jobs.transition(job.id, step)
    found = state.jobs.get(job.id)
    assert found.state is expected
    assert (found.ended is not None) == expected.final
    assert [e.data["state"] for e in state.jobs.events(job.id, kind="state")] == story
    assert [e.data["state"] for e in logged(state, "job.transition", job.id)] == story[1:]


def test_cancelling_again_is_no_error_but_cancelling_a_finished_job_is(state, submit, alice):
    job = submit()
    assert state.jobs.cancel(job.id, alice).reason == "cancelled by alice"
    assert state.jobs.cancel(job.id, alice).state is JobState.CANCELLED
    assert logged(state, "job.transition", job.id)[-1].actor == "alice"
    failed = submit()
    state.jobs.transition(failed.id, JobEvent.FAIL, reason="no")
    with pytest.raises(InvalidTransition):
        state.jobs.cancel(failed.id, alice)


def test_jobs_that_nobody_acts_on_expire_and_running_ones_do_not(state, submit):
    waiting, running = submit(), submit()
    for event in (JobEvent.ACCEPT, JobEvent.ASSIGN, JobEvent.START):
        state.jobs.transition(running.id, event)
    assert state.jobs.expire_due() == []
    expired = state.jobs.expire_due(utc_now() + timedelta(hours=2))
    assert [job.id for job in expired] == [waiting.id]
    assert expired[0].state is JobState.EXPIRED
    assert "3600" in expired[0].reason
    assert [job.id for job in state.jobs.in_states(JobState.RUNNING)] == [running.id]


def test_two_threads_cannot_both_take_a_job(state, submit):
    job = submit()
    state.jobs.transition(job.id, JobEvent.ACCEPT)
    outcomes = []

    def take(name):
        try:
            outcomes.append(state.jobs.transition(job.id, JobEvent.ASSIGN, enclave=name).enclave)
        except InvalidTransition:
            outcomes.append(None)

    threads = [threading.Thread(target=take, args=(f"tee-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name in outcomes if name]
    assert len(winners) == 1
    assert state.jobs.get(job.id).enclave == winners[0]


# -- submission ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sites": ("site-7",)}, NotFound, "no site 'site-7'"),
        ({"min_sites": 4}, InvalidMessage, "at least 4"),
        ({"config": {"momentum": 1}}, InvalidMessage, "no setting 'momentum'"),
        ({"recipient": b"short"}, InvalidMessage, "1216"),
        ({"idempotency_key": "a b"}, InvalidMessage, "Idempotency-Key"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_and_nothing_stored(
    state, submit, options, error, words
):
    with pytest.raises(error) as caught:
        submit(**options)
    assert words in str(caught.value)
    assert state.jobs.list().jobs == ()
    assert asyncio.run(state.objects.keys()) == []


def test_a_workload_may_ask_for_sites_and_their_number(state, submit):
    from fedgate.bundle import pack_files

    asking = pack_files({"workload.toml": b'sites = ["site-1", "site-2"]\nmin_sites = 2'})
    assert submit(bundle=asking).sites == ("site-1", "site-2")
    with pytest.raises(InvalidMessage, match="needs site 'site-2'"):
        submit(bundle=asking, sites=("site-1",))
    with pytest.raises(InvalidMessage, match="at least 2 sites"):
        submit(bundle=asking, min_sites=1)


def test_a_job_of_fewer_sites_than_its_project_asks_for_is_refused_with_both_numbers(state, submit):
    with pytest.raises(Denied, match=r"project asks for 2 sites, min_sites is 1"):
        submit("two", min_sites=1)
    with pytest.raises(Denied, match=r"project asks for 2 sites, 1 are chosen"):
        submit("two", sites=("site-1",))
    assert state.jobs.list().jobs == ()
    assert submit("two").min_sites == 2
    assert submit("two", min_sites=3).min_sites == 3


def test_a_workload_that_names_a_site_which_the_project_lacks_is_told_so_first(submit):
    """Whatever was chosen: neither adding the site nor leaving the choice out would help."""
    from fedgate.bundle import pack_files

    asking = pack_files({"workload.toml": b'sites = ["site-1", "site-9"]'})
    for choice in ((), ("site-1",)):
        with pytest.raises(NotFound, match="the workload names site 'site-9'") as told:
            submit(bundle=asking, sites=choice)
        assert "site-1" in told.value.why
        assert "--sites" not in str(told.value)


def test_policy_that_says_no_stores_nothing_but_the_refusal(state, submit, monkeypatch):
    from fedgate_gateway.control.records import PolicyDecision

    intake = state.jobs._intake
    object.__setattr__(intake, "policy", lambda s: PolicyDecision(False, ("not on Sundays",)))
    with pytest.raises(Denied, match="not allow") as caught:
        submit()
    assert "not on Sundays" in caught.value.why
    assert state.jobs.list().jobs == ()
    assert asyncio.run(state.objects.keys()) == []
    (entry,) = logged(state, "job.refused")
    assert (entry.actor, entry.data["project"]) == ("alice", "health")


def test_policy_that_fails_says_no(state, submit):
    def broken(submission):
        raise KeyError("secret detail")

    object.__setattr__(state.jobs._intake, "policy", broken)
    with pytest.raises(Denied, match="could not be evaluated") as caught:
        submit()
    assert "secret detail" not in str(caught.value)


# -- looking -------------------------------------------------------------------------------


def test_pages_show_every_job_once_newest_first(state, submit):
    made = [submit().id for _ in range(7)]
    seen, cursor = [], None
    while True:
        page = state.jobs.list(cursor, limit=3)
        seen += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == made[::-1]


def test_jobs_of_other_projects_do_not_exist_for_a_principal(state, submit):
    mine, theirs = submit(), submit("other")
    bob = Principal("bob", "t", frozenset({Scope.ADMIN}), frozenset({"health"}))
    assert [job.id for job in state.jobs.list(principal=bob).jobs] == [mine.id]
    with pytest.raises(NotFound) as hidden:
        state.jobs.get(theirs.id, bob)
    with pytest.raises(NotFound) as absent:
        state.jobs.get("job-000000000000", bob)
    same = str(absent.value).replace("job-000000000000", theirs.id)
    assert str(hidden.value) == same


def test_ids_sort_by_their_making():
    made = [new_job_id() for _ in range(2000)]
    assert made == sorted(set(made))


@given(st.integers(0, 2**60 - 1))
def test_a_cursor_comes_back_as_it_went(number):
    from fedgate_gateway.control import ids

    job = "job-" + ids._encode(number)
    assert decode_cursor(encode_cursor(job)) == job


@given(st.text(max_size=80))
def test_a_foreign_cursor_is_refused_or_one_of_ours(text):
    with suppress(InvalidMessage):
        assert encode_cursor(decode_cursor(text)) == text


# -- events --------------------------------------------------------------------------------


def test_recorded_events_come_in_order_and_after_an_id(state, submit):
    job = submit()
    first = state.jobs.record(job.id, "round", {"number": 1})
    state.jobs.record_all(job.id, [("log", {"text": "a"}), ("log", {"text": "b"})])
    later = state.jobs.events(job.id, first.id)
    assert [event.data["text"] for event in later] == ["a", "b"]
    assert [event.id for event in later] == sorted(event.id for event in later)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("state", {}), ("site", {}), ("output", {}), ("Round", {}), ("a\nb", {}), ("", {}),
        ("log", {"text": "x" * 70_000}), ("log", {"x": float("nan")}), ("log", {"x": object()}),
    ],
)  # fmt: skip
def test_events_that_would_mislead_or_flood_are_refused(state, submit, kind, told):
    job = submit()
    with pytest.raises(InvalidMessage):
        state.jobs.record(job.id, kind, told)
    assert len(state.jobs.events(job.id)) == 2


def test_events_of_unknown_jobs_are_refused(state):
    with pytest.raises(NotFound):
        state.jobs.record("job-000000000000", "log", {})


def test_a_waiter_wakes_when_another_thread_records(state, submit):
    job = submit()
    last = state.jobs.events(job.id)[-1].id

    async def run():
        waiting = asyncio.create_task(state.jobs.wait_events(job.id, last, seconds=600))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await asyncio.to_thread(state.jobs.record, job.id, "round", {"number": 1})
        (event,) = await asyncio.wait_for(waiting, 60)
        assert event.data == {"number": 1}

    asyncio.run(run())


def test_waiting_ends_empty_after_its_time(state, submit):
    job = submit()
    assert asyncio.run(state.jobs.wait_events(job.id, 10**9, seconds=0.01)) == []


# -- sites and outputs ---------------------------------------------------------------------


def test_decisions_are_written_once_and_logged(state, submit):
    job = submit()
    state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)
    sites = state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)
    state.jobs.set_site_decision(job.id, "site-2", Decision.DENIED, "no consent")
    assert sites[0].decision is Decision.ACCEPTED
    entries = logged(state, "job.site-decision", job.id)
    assert [(e.actor, e.data["decision"]) for e in entries] == [
        ("site-1", "accepted"),
        ("site-2", "denied"),
    ]
    assert [e.data["site"] for e in state.jobs.events(job.id, kind="site")] == ["site-1", "site-2"]


def test_decisions_of_strangers_and_of_the_past_are_refused(state, submit, alice):
    job = submit(sites=("site-1",))
    with pytest.raises(NotFound):
        state.jobs.set_site_decision(job.id, "site-2", Decision.ACCEPTED)
    state.jobs.cancel(job.id, alice)
    with pytest.raises(Conflict, match="ended"):
        state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)


def test_outputs_are_registered_once_and_logged(state, submit):
    job = submit()
    stored = StoredObject(state.jobs.output_key(job.id, "model"), 3, "sha256:" + "0" * 64)
    made = state.jobs.add_output(job.id, OutputKind.MODEL, "model", stored, sealed=True)
    assert state.jobs.outputs(job.id) == [made]
    with pytest.raises(Conflict):
        state.jobs.add_output(job.id, OutputKind.MODEL, "model", stored, sealed=False)
    assert [e.data["sealed"] for e in logged(state, "job.output", job.id)] == [True]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 200, "a\n"])
def test_outputs_need_plain_names(state, name):
    with pytest.raises(InvalidMessage):
        state.jobs.output_key("job-000000000000", name)


def test_an_upload_that_died_is_in_nobodys_way(state):
    keys = {state.jobs.output_key("job-000000000000", "model") for _ in range(50)}
    assert len(keys) == 50


def test_a_job_that_floods_is_stopped_but_can_still_end(state, submit, monkeypatch):

    job = submit()
    monkeypatch.setattr(state.jobs._events, "_most", 4)
    state.jobs.record_all(job.id, [("log", {}), ("log", {})])
    with pytest.raises(LimitReached, match="too much"):
        state.jobs.record(job.id, "log", {})
    assert state.jobs.transition(job.id, JobEvent.FAIL).state is JobState.FAILED


def test_everything_survives_a_restart(state, submit, reopen):
    job = submit()
    state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)
    state.jobs.transition(job.id, JobEvent.ACCEPT)
    note = state.audit.checkpoint()
    again = reopen()
    assert again.jobs.get(job.id).state is JobState.QUEUED
    assert again.jobs.job_sites(job.id) == state.jobs.job_sites(job.id)
    assert again.jobs.events(job.id) == state.jobs.events(job.id)
    assert asyncio.run(again.jobs.bundle_archive(job.bundle))
    assert again.audit.checkpoint() == note
    assert again.authority.fingerprint == state.authority.fingerprint
