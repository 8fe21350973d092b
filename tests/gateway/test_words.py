"""What a submitter is told, in few words that say what to do."""

from __future__ import annotations

import logging
import re
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.api.app import create_app
from fedgate_gateway.control.denials import by_reason
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import Decision, JobSite


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rounds": "abc"}, "'rounds' is a number, and was given as text"),
        ({"lr": "1e-3"}, "'lr' is a number"),
        ({"rounds": 2.0, "lr": 1}, ""),
    ],
)
def test_text_is_no_number(submit, config, words):
    if not words:
        assert submit(config=config).config == config
        return
    with pytest.raises(InvalidMessage, match=re.escape(words)):
        submit(config=config)


def test_a_reason_of_several_sites_is_said_once():
    lacks = "site {} does not have what this workload depends on: " + "torch (not installed), " * 45
    sites = [JobSite(s, Decision.DENIED, lacks.format(s)) for s in ("a", "b", "c")]
    said = by_reason([*sites, JobSite("d", Decision.DENIED, "no dataset 'x'")])
    assert said.startswith("a, b, c: this site does not have what")
    assert said.endswith("; d: no dataset 'x'")
    assert len(said) < 900


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "tokens"), ("POST", "enrolments"), ("PUT", "recipient")]
)
def test_a_stranger_is_turned_away_whatever_it_sends(client, token, method, path):
    json = {"content-type": "application/json"}
    for headers in ({}, {"authorization": "Bearer fgt_none"}, {"authorization": "Basic x"}):
        answer = client.request(
            method, f"/api/v1/{path}", content=b"{", headers={**json, **headers}
        )
        assert answer.status_code == 401
    known = {**json, **token()}
    answer = client.request(method, f"/api/v1/{path}", content=b"{", headers=known)
    assert answer.status_code == 422


def test_who_watches_when_a_gateway_stops_sees_an_end_and_nobody_a_traceback(
    state, serving, submit, token, caplog
):
    job, began, read = submit(), threading.Event(), []
    headers = token(Scope.JOBS_READ)

    def watch(url, context):
        with httpx.stream(
            "GET", f"{url}/api/v1/jobs/{job.id}/events", headers=headers, verify=context, timeout=60
        ) as answer:
            for line in answer.iter_lines():
                read.append(line)
                began.set()

    context = ssl.create_default_context(cadata=state.authority.certificate_pem.decode())
    with ThreadPoolExecutor(1) as apart:
        with serving(create_app(state), state.authority) as url:
            watching = apart.submit(watch, url, context)
            assert began.wait(60)
            state.calls.end_streams()
        watching.result()
    assert read
    assert not [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]
