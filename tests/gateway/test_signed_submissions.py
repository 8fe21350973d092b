"""The gateway takes what a submitter signed, whole and for what came with it, and passes it on."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgate.bundle import pack_files
from fedgate.errors import Conflict, Denied, InvalidMessage
from fedgate.front_door import Order
from fedgate.job import JobState
from fedgate_gateway.control.records import SubmitOptions
from fedgate_gateway.control.scheduler import job_spec
from fedgate_gateway.front.own_requests import sign_own
from fedgate_gateway.governance import SignedBy, key_id, read_unverified, verify_request
from fedgate_gateway.link.spec import Spec
from fedgate_gateway.own_keys import public_keys
from fedgate_gateway.sealed.keys import RecipientKey
from fedgate_gateway.store.base import utc_now

ADDRESSES = "[api]\nport = 1\n[link]\nport = 1\n[projects.health]\nsites = ['a']\n"
OTHER = pack_files({"workload.toml": b'name = "other"'})


@pytest.fixture
def hand_in(state, archive, alice):
    def run(request, recipient=None, bundle=archive):
        return asyncio.run(state.jobs.submit(bundle, SubmitOptions(request, recipient), alice))

    return run


def test_the_request_goes_to_every_peer_as_it_was_signed(state, archive, signed, hand_in):
    key = Ed25519PrivateKey.generate()
    envelope = signed(archive, key=key, config={"lr": 5.0}, sites=("site-2",))
    job = hand_in(envelope)
    bundle = state.jobs.bundle(job.bundle)
    spec = Spec.read(job_spec(job, bundle, ["site-2"], state.jobs.request(job.id)))
    assert spec.request == envelope
    keys = {"alice": key.public_key().public_bytes_raw()}
    found = verify_request(spec.request, submitters=keys, gateways={}, now=time.time())
    assert found.digest == job.request
    assert found.signed_by == job.signed_by == "submitter"
    assert (spec.config, type(spec.config["lr"])) == (found.request.config, float)


def test_its_digest_is_in_the_log(state, archive, signed, hand_in):
    job = hand_in(signed(archive))
    (entry,) = [e.entry for e in state.audit.entries(limit=10, job=job.id, kind="job.submitted")]
    assert (entry.data["request"], entry.data["signed_by"]) == (job.request, "submitter")


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"submitter": "bob"}, Denied, "in the name of 'bob'"),
        ({"bundle": "sha256:" + "00" * 32}, InvalidMessage, "another bundle"),
        ({"recipient": b"\1" * 32}, InvalidMessage, "another recipient"),
        ({"created": 1_700_000_000, "expires": 1_700_000_001}, Denied, "has expired"),
        ({"created": int(time.time()) + 9000}, Denied, "not valid yet"),
        ({"expires": int(time.time()) + 40 * 86400}, Denied, "too long"),
        ({"project": "nowhere"}, Exception, "no project 'nowhere'"),
    ],
)
def test_a_request_for_something_else_is_refused_at_once(
    state, archive, signed, hand_in, fields, error, words
):
    with pytest.raises(error, match=words):
        hand_in(signed(archive, **fields))
    assert state.jobs.list().jobs == ()


def test_another_archive_or_recipient_cannot_ride_on_a_request(archive, signed, hand_in):
    with pytest.raises(InvalidMessage, match="another bundle"):
        hand_in(signed(archive), bundle=OTHER)
    ours, theirs = RecipientKey.generate().public_raw, RecipientKey.generate().public_raw
    for named, sent in ((ours, theirs), (None, theirs), (ours, None)):
        with pytest.raises(InvalidMessage, match="another recipient"):
            hand_in(signed(archive, recipient=named), recipient=sent)


def test_a_request_that_came_before_makes_no_second_job(state, archive, signed, hand_in):
    request = signed(archive)
    first = hand_in(request)
    with pytest.raises(Conflict, match="submitted before") as caught:
        hand_in(request)
    assert first.id in caught.value.why


def test_a_job_waits_no_longer_than_its_request_is_valid(state, archive, signed, hand_in):
    now = int(time.time())
    job = hand_in(signed(archive, created=now, expires=now + 60))
    assert job.pending_until == job.request_expires
    (ended,) = state.jobs.expire_due(utc_now() + timedelta(seconds=61))
    assert ended.state is JobState.EXPIRED
    assert "its signed request was valid until" in ended.reason


# -- what the gateway signs itself


def test_a_door_in_the_gateway_signs_in_the_gateways_name(state, archive, alice):
    options = sign_own(
        state.request_key, archive, Order(project="health", config={"lr": 0.5}),
        submitter="alice", recipient=None,
    )  # fmt: skip
    job = asyncio.run(state.jobs.submit(archive, options, alice))
    assert (job.signed_by, job.submitter, job.config) == ("gateway", "alice", {"lr": 0.5})
    public = state.request_key.public_key().public_bytes_raw()
    verify = {"submitters": {}, "now": time.time()}
    found = verify_request(options.request, gateways={"main": public}, **verify)
    assert (found.signed_by, found.signer) == (SignedBy.GATEWAY, "main")
    with pytest.raises(Denied, match="nobody in project"):
        verify_request(options.request, gateways={}, **verify)


def test_nobody_can_claim_the_gateways_signature(state, archive, signed, hand_in):
    envelope = signed(archive)
    ours = key_id(state.request_key.public_key().public_bytes_raw())
    claimed = envelope.replace(read_unverified(envelope).key_id.encode(), ours.encode())
    with pytest.raises(Denied, match="this gateway did not sign"):
        hand_in(claimed)


def test_the_gateways_key_is_shown_and_outlives_a_restart(state, data, reopen, fedgate, tmp_path):
    before = public_keys(data)
    state.close()
    reopen()
    assert public_keys(data) == before
    config = tmp_path / "gateway.toml"
    config.write_text(f'data = "{data}"\n' + ADDRESSES)
    shown = fedgate("gateway", "keys", "--config", config, "--format", "json").json
    assert shown == before
    assert set(shown) == {"ca_fingerprint", "audit_key", "request_key"}


def test_a_gateway_that_never_started_has_no_keys_to_show(fedgate, tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text('data = "nowhere"\n' + ADDRESSES)
    ran = fedgate("gateway", "keys", "--config", config)
    assert ran.code == 66
    assert "starts for the first time" in ran.err
    assert fedgate("gateway").code == 2


def test_a_token_knows_its_name(client, token):
    said = client.get("/api/v1/whoami", headers=token(name="carol", projects=["health"])).json()
    assert said == {"name": "carol", "scopes": ["admin"], "projects": ["health"]}
    assert client.get("/api/v1/whoami").status_code == 401
