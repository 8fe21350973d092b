"""Opaque traffic through real sites, an enclave and a gateway: allowed, counted, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedgate.bundle import pack_directory
from fedgate_gateway.dev import Federation
from fedgate_gateway.dev.leftovers import leftovers

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]
JOBS = Path(__file__).parent / "jobs"
RING = (
    "aux_communication:__do_task__",
    "aux_communication:cwf.end_wf.ring",
    "download_service__:*",
    "peer_context:cwf.status_reports",
)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Two sites whose owners allow what client-side cyclic learning needs, and no more."""
    folder = tmp_path_factory.mktemp("federation")
    made = Federation(folder, sites=2, adapters=("flare",), examples=False)
    made.prepare()
    for site in made.sites:
        config = made.layout.site(site)
        config.write_text(config.read_text() + f"\n[guard]\nframes = {json.dumps(RING)}\n")
        policy = made.layout.policy(site)
        policy.write_text(
            policy.read_text().replace(
                '["aux_communication:fed.event"].containsAll(context.frames)', "true"
            )
        )
    with made:
        yield made
    assert leftovers(folder) == {}


def submit(federation: Federation, job: str) -> dict:
    from fedgate_gateway.sealed.keys import RecipientKey

    key = RecipientKey.load(federation.profile.recipient)
    told = federation.client.submit(pack_directory(JOBS / job), recipient=key.public_raw)
    job_id = told["job"]["id"] if "job" in told else told["id"]
    for _ in federation.client.events(job_id):
        pass
    return federation.client.job(job_id)


def test_peers_talk_through_the_enclave_and_every_frame_is_in_the_audit_log(federation):
    ended = submit(federation, "ring")
    assert ended["job"]["state"] == "succeeded", ended
    outputs = federation.client.outputs(ended["job"]["id"])
    assert "model" in {output["kind"] for output in outputs}
    entries = federation.client.audit_entries(job=ended["job"]["id"], limit=500)["entries"]
    rows = [e["data"] for e in entries if e["kind"] == "frames.passed"]
    counted = {(r["site"], r["frame"], r["direction"]) for r in rows}
    for site in federation.sites:
        assert (site, "aux_communication:__do_task__", "out") in counted
        assert (site, "aux_communication:__do_task__", "in") in counted


def test_a_job_that_needs_more_is_denied_with_the_names(federation):
    ended = submit(federation, "swarm")
    assert ended["job"]["state"] == "denied"
    assert "aux_communication:swarm_req_to_submit_learn_result" in json.dumps(ended)
    assert "aux_communication:__do_task__" not in json.dumps(ended["sites"])
