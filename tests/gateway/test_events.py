"""Server-sent events: in order, resumable, alive when quiet, and ending with the job."""

from __future__ import annotations

import asyncio
import json

import pytest

from fedgate.job import JobEvent
from fedgate_gateway.api import sse


def parse(text):
    """Events of a stream as (id, kind, data)."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")
        )
        if "data" in fields:
            events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return events


@pytest.fixture
def finished(state, submit):
    job = submit().id
    for event in (JobEvent.ACCEPT, JobEvent.ASSIGN, JobEvent.START):
        state.jobs.transition(job, event)
    for number in range(1, 4):
        state.jobs.record(job, "round", {"number": number})
        state.jobs.record(job, "log", {"text": f"round {number}\n"})
    state.jobs.transition(job, JobEvent.SUCCEED)
    return job


def test_a_finished_jobs_stream_tells_everything_and_ends(client, admin, finished):
    answer = client.get(f"/api/v1/jobs/{finished}/events", headers=admin)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse(answer.text)
    told = [kind for _, kind, _ in events if kind != "site"]
    assert told == ["state"] * 5 + ["round", "log"] * 3 + ["state"]
    assert events[-1][2]["state"] == "succeeded"
    assert [number for number, _, _ in events] == sorted(number for number, _, _ in events)


def test_a_stream_goes_on_after_the_last_event_that_was_seen(client, admin, finished):
    url = f"/api/v1/jobs/{finished}/events"
    everything = parse(client.get(url, headers=admin).text)
    for seen in range(len(everything) + 1):
        last = everything[seen - 1][0] if seen else 0
        rest = client.get(url, headers={**admin, "Last-Event-ID": str(last)})
        assert parse(rest.text) == everything[seen:]


@pytest.mark.parametrize("last", ["-1", "x", "1e3", "٣", "9" * 30, "1 2"])
def test_a_last_event_id_that_is_none_is_refused(client, admin, finished, last):
    headers = {**admin, "Last-Event-ID": last.encode()}
    answer = client.get(f"/api/v1/jobs/{finished}/events", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-message")


def test_the_log_streams_alone(client, admin, finished):
    headers = {**admin, "Accept": "text/event-stream"}
    events = parse(client.get(f"/api/v1/jobs/{finished}/logs", headers=headers).text)
    assert [data["text"] for _, _, data in events] == ["round 1\n", "round 2\n", "round 3\n"]


def test_events_of_other_jobs_stay_out(client, admin, finished, submit, state):
    other = submit().id
    state.jobs.record(other, "round", {"number": 99})
    text = client.get(f"/api/v1/jobs/{finished}/events", headers=admin).text
    assert other not in text


def test_a_live_stream_pushes_beats_and_ends(state, submit):
    job = submit().id

    async def run():
        seen = []
        async for chunk in sse.stream(state.jobs, job, 0, heartbeat=0.05):
            seen.append(chunk)
            if b"still here" in chunk and len(seen) < 6:
                await asyncio.to_thread(state.jobs.record, job, "round", {"number": 1})
            elif b"event: round" in chunk:
                await asyncio.to_thread(state.jobs.transition, job, JobEvent.CANCEL)
        return b"".join(seen).decode()

    text = asyncio.run(asyncio.wait_for(run(), 60))
    assert ": still here" in text
    told = [kind for _, kind, _ in parse(text)]
    assert [kind for kind in told if kind != "site"] == ["state", "state", "round", "state"]


def test_text_cannot_break_out_of_its_event(state, submit):
    job = submit().id
    told = state.jobs.record(job, "log", {"text": "a\n\nid: 999\nevent: state\ndata: {}\n\n"})
    (event,) = parse(sse.encode(told).decode())
    assert event[:2] == (told.id, "log")


def test_data_cannot_pretend_to_be_another_event(state, submit):
    job = submit().id
    told = state.jobs.record(job, "round", {"id": 1, "job": "job-000000000000"})
    ((number, _, data),) = parse(sse.encode(told).decode())
    assert (data["id"], data["job"]) == (told.id, job) == (number, job)
