"""What a token may have of the API, and that it ends with the token; over real connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest

from fedgate.errors import LimitReached
from fedgate_gateway.api.app import create_app
from fedgate_gateway.api.open_requests import OpenRequests
from fedgate_gateway.control import tokens
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.front.office import Office
from fedgate_gateway.open_calls import SERVING, OpenCall
from fedgate_gateway.shares import ALL
from fedgate_gateway.store.base import utc_now

READ = (Scope.JOBS_READ, Scope.JOBS_WRITE)


@pytest.fixture
def few(state):
    """A gateway whose shares are small."""
    limits = {
        "streams_token": 2, "streams": 3, "uploads_token": 1, "expensive_per_minute": 6,
        "pending_jobs_submitter": 2, "pending_jobs_project": 3, "idle_seconds": 1.5,
    }  # fmt: skip
    changed = state.config.limits.model_copy(update=limits)
    state.config = state.config.model_copy(update={"limits": changed})
    state.shares = type(state.shares)(changed)
    state.jobs._intake.__dict__["limits"] = changed
    return state


def watching(client, job, headers):
    return client.stream("GET", f"/api/v1/jobs/{job}/events", headers=headers)


def problem_of(response, limit):
    found = response.json()
    assert (response.status_code, found["code"]) == (429, "limit-reached"), found
    assert int(response.headers["Retry-After"]) > 0
    assert f"limits.{limit}" in found["remedy"]
    return found


@pytest.fixture
def http(url):
    with httpx.Client(base_url=url, verify=False, timeout=60) as client:
        yield client


# -- a revoked token ------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["events", "logs"])
def test_a_stream_of_events_ends_with_its_token(way, http, state, token, submit):
    job, headers = submit().id, token(*READ, name="alice")
    other = token(*READ, name="bob")
    (alice,) = [t.id for t in state.tokens.list() if t.name == "alice"]
    accept = {"accept": "text/event-stream"}
    path = f"/api/v1/jobs/{job}/{way}"
    with (
        http.stream("GET", path, headers={**headers, **accept}) as stream,
        http.stream("GET", path, headers={**other, **accept}) as others,
    ):
        lines, theirs = stream.iter_lines(), others.iter_lines()
        assert next(lines) == next(theirs) == "retry: 2000"
        state.tokens.revoke(alice, actor="root")
        # At once, and not at the next heartbeat.
        assert not [line for line in lines if line.startswith(":")]
        until(lambda: state.shares._streams.held(ALL) == 1)
        state.jobs.record(job, "log", {"text": "still here"})
        assert any("still here" in line or way == "events" for line in theirs)
        state.jobs.cancel(job, state.tokens.authenticate(other["Authorization"].split()[1]))
    assert http.get(f"/api/v1/jobs/{job}", headers=headers).status_code == 401


def test_a_token_that_expires_ends_what_it_has_open(http, token, submit, monkeypatch):
    expires = utc_now() + timedelta(hours=1)
    job, headers = submit().id, token(*READ, expires=expires)
    monkeypatch.setattr(tokens, "utc_now", lambda: expires - timedelta(seconds=0.5))
    with watching(http, job, headers) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        assert not any(line.startswith(":") for line in lines)  # no heartbeat: it has ended


def test_a_framework_commands_call_ends_with_the_token_of_its_login(state, token):
    office = Office.open(state)
    headers = token(*READ, name="alice")
    who = state.tokens.authenticate(headers["Authorization"].split()[1])
    access = office.logins.open(who, way="token").access

    async def serve() -> None:
        call = OpenCall()
        SERVING.set(call)
        await asyncio.to_thread(office.authenticate, access)
        await asyncio.to_thread(state.tokens.revoke, who.token, actor="root")
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(serve())


def raw(url, head):
    """A connection on which a request has begun."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = url.removeprefix("https://").partition(":")
    connection = context.wrap_socket(socket.create_connection((host, int(port)), 60))
    connection.settimeout(60)
    connection.sendall(head.encode())
    return connection


def half_an_upload(url, headers):
    return raw(
        url,
        "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
        f"Authorization: {headers['Authorization']}\r\n\r\n--x\r\n",
    )


def until(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_upload_ends_with_its_token(url, state, token):
    headers = token(*READ, name="alice")
    (alice,) = [t.id for t in state.tokens.list() if t.name == "alice"]
    with half_an_upload(url, headers) as connection:
        until(lambda: state.shares._uploads.held(ALL) == 1)
        state.tokens.revoke(alice, actor="root")
        answer = connection.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 401")
        until(lambda: state.shares._uploads.held(ALL) == 0)


# -- shares --------------------------------------------------------------------------------------


@pytest.fixture
def small(few, serving):
    with serving(create_app(few), few.authority) as address:
        yield address


@pytest.fixture
def small_http(small):
    with httpx.Client(base_url=small, verify=False, timeout=60) as client:
        yield client


def test_a_token_has_a_few_streams_open_and_all_together_some(small_http, few, token, submit):
    job, alice, bob = submit().id, token(*READ, name="alice"), token(*READ, name="bob")
    with watching(small_http, job, alice), watching(small_http, job, alice):
        until(lambda: few.shares._streams.held(ALL) == 2)
        path = f"/api/v1/jobs/{job}/events"
        assert "token" in problem_of(small_http.get(path, headers=alice), "streams_token")["why"]
        with watching(small_http, job, bob):
            problem_of(small_http.get(path, headers=bob), "streams")
    until(lambda: few.shares._streams.held(ALL) == 0)
    with watching(small_http, job, alice) as stream:
        assert stream.status_code == 200


def test_a_half_open_upload_takes_one_tokens_share_and_is_given_up(small, small_http, few, token):
    alice, bob = token(*READ, name="alice"), token(*READ, name="bob")
    with half_an_upload(small, alice) as connection:
        until(lambda: few.shares._uploads.held(ALL) == 1)
        files = {"bundle": b"no"}
        refused = small_http.post("/api/v1/jobs", headers=alice, files=files)
        problem_of(refused, "uploads_token")
        passed = small_http.post("/api/v1/jobs", headers=bob, files=files)
        assert passed.json()["code"] == "invalid-request" or passed.status_code < 429
        answer = connection.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 408")
        assert "stood still" in answer + connection.recv(4096).decode()
    until(lambda: few.shares._uploads.held(ALL) == 0)


def test_an_answer_that_nobody_reads_is_given_up_and_its_share_with_it(few):
    """Its sender waits for room in a socket that stays full."""

    async def application(scope, receive, send):
        SERVING.get().keep(few.shares._streams.hold(1, token="alice"))
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def full(_message):
        await asyncio.sleep(1000)

    served = OpenRequests(
        application, calls=few.calls, shares=few.shares, uploads=(), idle_seconds=0.05
    )
    scope = {"type": "http", "method": "GET", "path": "/"}

    async def serve():
        await asyncio.wait_for(served(scope, asyncio.Event().wait, full), 10)

    asyncio.run(serve())
    assert few.shares._streams.held(ALL) == 0


def test_what_costs_much_has_a_rate(small_http, token, submit):
    job, alice, bob = submit().id, token(*READ, name="alice"), token(*READ, name="bob")
    path = f"/api/v1/jobs/{job}/bundle"
    answers = [small_http.get(path, headers=alice) for _ in range(7)]
    assert [a.status_code for a in answers] == [200] * 6 + [429]
    problem_of(answers[-1], "expensive_per_minute")
    assert small_http.get(path, headers=bob).status_code == 200


def test_jobs_wait_in_bounded_numbers_of_a_submitter_and_of_a_project(few, submit, alice):
    for _ in range(2):
        job = submit()
    with pytest.raises(LimitReached, match="pending_jobs_submitter"):
        submit()
    few.jobs.cancel(job.id, alice)
    submit()
    bob = replace(alice, name="bob")
    submit(submitter="bob", by=bob)
    with pytest.raises(LimitReached, match="pending_jobs_project"):
        submit(submitter="bob", by=bob)
    submit("two", submitter="bob", by=bob)  # another project's are not counted


def test_threads_and_loops_share_one_account(few, token):
    """Handlers run on many threads."""
    held = []

    def take():
        try:
            held.append(few.shares._uploads.hold(1, token="alice"))
        except LimitReached:
            held.append(None)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([h for h in held if h is not None]) == 1
