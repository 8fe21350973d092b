"""A request is what its submitter signed, to the type and the bit, or it is refused."""

import json
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import Denied, InvalidMessage
from fedgate.task import Scalar
from fedgate_gateway.governance import (
    JobRequest,
    SignedBy,
    SignedRequest,
    check_job,
    key_id,
    sign_request,
    title_of,
    verify_request,
)
from fedgate_gateway.governance.scalars import read_scalar, same_config, write_scalar
from fedgate_gateway.governance.signed_request import read_unverified
from fedgate_gateway.governance.statement import Statement, sign_statement

DAY = 86400
NOW = 1_800_000_000
ALICE, GATEWAY, MALLORY = (Ed25519PrivateKey.generate() for _ in range(3))
SCALARS = (
    st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
REQUEST = JobRequest(
    project="demo", bundle="sha256:" + "ab" * 32, name="a title", submitter="alice",
    sites=("a", "b"), datasets=("patients",), min_sites=2,
    config={"noise_multiplier": 5.0, "rounds": 5, "dp": True, "note": "x"},
    task_seconds=60.0, recipient="sha256:" + "cd" * 32,
    created=NOW, expires=NOW + DAY, nonce="0f" * 16,
)  # fmt: skip


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def verify(envelope: bytes, **changes: Any) -> SignedRequest:
    known = {"submitters": {"alice": public(ALICE)}, "gateways": {}, "now": NOW + 1}
    return verify_request(envelope, **{**known, **changes})


def job(**changes: Any) -> dict[str, Any]:
    """The job of :data:`REQUEST`, as a gateway would pass it on."""
    asked = REQUEST
    return {
        "project": asked.project, "bundle": asked.bundle, "name": asked.name,
        "submitter": asked.submitter, "sites": asked.sites, "datasets": asked.datasets,
        "min_sites": asked.min_sites, "config": asked.config, "task_seconds": asked.task_seconds,
        "recipient_fingerprint": asked.recipient, "members": ("a", "b", "c"),
        "workload_name": "its own", "workload_min_sites": 1, **changes,
    }  # fmt: skip


SIGNED = SignedRequest(REQUEST, "sha256:" + "0" * 64, "alice", SignedBy.SUBMITTER)


# -- values


@given(SCALARS)
def test_a_value_survives_to_the_type_and_the_bit(value: Scalar) -> None:
    found = read_scalar(json.loads(json.dumps(write_scalar(value))))
    assert type(found) is type(value)
    assert repr(found) == repr(value)


@given(SCALARS, SCALARS)
def test_values_that_differ_are_different(one: Scalar, other: Scalar) -> None:
    same = (type(one), repr(one)) == (type(other), repr(other))
    assert same_config({"a": one}, {"a": other}) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(5, 5.0), (1, True), (0.0, -0.0), (0, False), ("5", 5), (0.1, 0.1 + 1e-17 * 2)],
)
def test_five_is_not_five_point_nought(one: Scalar, other: Scalar) -> None:
    assert not same_config({"a": one}, {"a": other})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1 << 63, None, [1], {"a": 1}])
def test_what_is_no_setting_is_not_signed(value: Any) -> None:
    with pytest.raises(InvalidMessage):
        replace(REQUEST, config={"a": value})


@pytest.mark.parametrize(
    "written",
    [5, 5.0, None, [], {}, {"int": 5}, {"int": "05"}, {"int": " 5"}, {"int": "5_0"}, {"int": "5.0"},
     {"float": "5"}, {"float": "nan"}, {"float": "inf"}, {"float": "5.00"}, {"float": "1e0"},
     {"int": "9" * 5000}, {"int": "1", "float": "1.0"}, {"bool": "true"}],
    ids=str,
)  # fmt: skip
def test_there_is_one_way_to_write_a_number(written: Any) -> None:
    with pytest.raises(InvalidMessage):
        read_scalar(written)


# -- the document


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}", fullmatch=True), SCALARS)
)
def test_a_request_comes_back_as_it_was_signed(config: dict[str, Scalar]) -> None:
    asked = replace(REQUEST, config=config)
    found = verify(sign_request(asked, ALICE))
    assert same_config(found.request.config, config)
    assert replace(found.request, config={}) == replace(asked, config={})
    assert (found.signer, found.signed_by) == ("alice", "submitter")


def test_open_choices_stay_open() -> None:
    asked = replace(REQUEST, sites=(), min_sites=None, task_seconds=None, recipient="", name="")
    assert verify(sign_request(asked, ALICE)).request == asked


def test_the_digest_names_what_was_signed_and_not_who_signed() -> None:
    one = read_unverified(sign_request(REQUEST, ALICE)).digest
    assert one == read_unverified(sign_request(REQUEST, MALLORY)).digest
    assert one != read_unverified(sign_request(replace(REQUEST, nonce="00" * 16), ALICE)).digest


@pytest.mark.parametrize(
    "change",
    [
        {"project": "Demo"}, {"project": ""}, {"bundle": "sha256:x"}, {"bundle": ""},
        {"name": "a\nb"}, {"name": "x" * 129}, {"name": " a"}, {"name": "a\u202eb"},
        {"name": "a<b"}, {"config": {"a b": 1}}, {"config": {"a" * 129: 1}}, {"config": {"ä": 1}},
        {"config": {f"a{n}": 1 for n in range(257)}}, {"submitter": ""}, {"submitter": "a\0"},
        {"sites": ("a", "a")}, {"sites": ("../a",)}, {"sites": tuple(f"s{n}" for n in range(257))},
        {"datasets": ("d", "d")}, {"datasets": ("",)}, {"min_sites": 0}, {"min_sites": True},
        {"min_sites": 2.0}, {"config": {"": 1}}, {"config": {"a\n": 1}},
        {"config": {"a": "x" * 70_000}}, {"config": {"a": "\ud800"}}, {"task_seconds": 0},
        {"task_seconds": math.nan}, {"task_seconds": math.inf}, {"task_seconds": 1e9},
        {"recipient": "key"}, {"created": -1}, {"created": 1.5}, {"expires": NOW},
        {"expires": 1 << 60}, {"nonce": ""}, {"nonce": "0F" * 16},
    ],
    ids=lambda change: f"{change!r:.50}",
)  # fmt: skip
def test_what_cannot_be_a_request_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        replace(REQUEST, **change)


PREDICATE = REQUEST.to_predicate()


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {**PREDICATE, "more": 1},
        *({k: v for k, v in PREDICATE.items() if k != gone} for gone in PREDICATE),
        *({**PREDICATE, field: other} for field in PREDICATE for other in ([[]], {"a": 1}, 7.5)),
        {**PREDICATE, "config": {"noise_multiplier": 5}},
        {**PREDICATE, "taskSeconds": "60"},
        {**PREDICATE, "taskSeconds": 60},
    ],
    ids=lambda p: f"{p!r:.30}",
)
def test_a_predicate_of_other_fields_or_kinds_is_refused(predicate: dict[str, Any]) -> None:
    kind = "urn:fedgate:job-request:v1"
    with pytest.raises(Denied, match="malformed"):
        verify(sign_statement(Statement(kind, REQUEST.bundle, predicate), ALICE))


def test_another_kind_of_statement_is_no_request() -> None:
    with pytest.raises(Denied, match="no job's request"):
        verify(sign_statement(Statement("urn:other", REQUEST.bundle, PREDICATE), ALICE))


# -- who signed


def test_a_key_that_the_project_does_not_know_counts_for_nothing() -> None:
    with pytest.raises(Denied, match="nobody in project"):
        verify(sign_request(REQUEST, MALLORY))


def test_a_submitter_signs_in_its_own_name_only() -> None:
    people = {"alice": public(ALICE), "mallory": public(MALLORY)}
    with pytest.raises(Denied, match="names 'alice'"):
        verify(sign_request(REQUEST, MALLORY), submitters=people)


def test_a_gateway_counts_only_where_it_is_listed_and_is_never_taken_for_a_person() -> None:
    envelope = sign_request(REQUEST, GATEWAY)
    with pytest.raises(Denied, match="nobody in project"):
        verify(envelope)
    found = verify(envelope, gateways={"main": public(GATEWAY)})
    assert (found.signer, found.signed_by) == ("main", SignedBy.GATEWAY)
    both = {"submitters": {"alice": public(GATEWAY)}, "gateways": {"main": public(GATEWAY)}}
    assert verify(envelope, **both).signed_by is SignedBy.GATEWAY


def test_a_claim_to_another_key_does_not_verify() -> None:
    envelope = sign_request(REQUEST, MALLORY)
    forged = envelope.replace(key_id(public(MALLORY)).encode(), key_id(public(ALICE)).encode())
    with pytest.raises(Denied, match="not signed by the key that it names"):
        verify(forged)


@pytest.mark.parametrize(
    ("now", "words"),
    [(NOW - 301, "not valid yet"), (NOW + DAY, "has expired"), (NOW + 9 * DAY, "has expired")],
)
def test_a_request_has_its_time(now: float, words: str) -> None:
    verify(sign_request(REQUEST, ALICE), now=NOW - 299)
    with pytest.raises(Denied, match=words):
        verify(sign_request(REQUEST, ALICE), now=now)


def test_no_request_is_valid_for_ever() -> None:
    with pytest.raises(Denied, match="too long"):
        verify(sign_request(replace(REQUEST, expires=NOW + 31 * DAY), ALICE))


# -- is this the job?


def test_the_job_that_was_signed_is_accepted() -> None:
    check_job(SIGNED, **job())
    check_job(SIGNED, **job(config=dict(reversed(REQUEST.config.items()))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "other"), ("bundle", "sha256:" + "00" * 32), ("name", "another"), ("name", ""),
        ("submitter", "bob"), ("datasets", ()), ("datasets", ("patients", "more")),
        ("min_sites", 1), ("config", {}), ("task_seconds", None), ("task_seconds", 61.0),
        ("recipient_fingerprint", ""), ("recipient_fingerprint", "sha256:" + "00" * 32),
        ("sites", ("a", "c")), ("sites", ("a",)), ("sites", ()), ("sites", ("a", "a")),
        *(("config", {**REQUEST.config, **change}) for change in (
            {"noise_multiplier": 0.0}, {"noise_multiplier": 5}, {"rounds": 5.0}, {"dp": 1},
            {"dp": False}, {"note": ""}, {"more": 1}, {"noise_multiplier": math.nan},
        )),
    ],
)  # fmt: skip
def test_every_change_after_signing_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Denied, match="recipient" if field.startswith("recipient") else field):
        check_job(SIGNED, **job(**{field: value}))


def test_every_field_of_a_request_is_compared() -> None:
    """A field added later is compared, or is about the signature itself."""
    compared = {"recipient" if f == "recipient_fingerprint" else f for f in job()}
    assert {field.name for field in fields(JobRequest)} <= compared | {
        "created",
        "expires",
        "nonce",
        "enclave",  # by verify_enclave, which knows the project's
        "site_files",  # nobody passes it on: sites and enclave read it in the signed request
    }


def test_what_was_left_open_is_closed_by_project_and_bundle_alone() -> None:
    asked = replace(REQUEST, sites=(), min_sites=None, name="")
    signed = replace(SIGNED, request=asked)
    own = {"name": "its own", "min_sites": 1}
    check_job(signed, **job(sites=("c",), **own))
    for change in ({"sites": ("stranger",)}, {"name": "other"}, {"min_sites": 2}, {"sites": ()}):
        with pytest.raises(Denied):
            check_job(signed, **job(**{**own, **change}))


def test_a_setting_that_was_changed_is_quoted() -> None:
    with pytest.raises(Denied) as caught:
        check_job(SIGNED, **job(config={**REQUEST.config, "noise_multiplier": 0.0}))
    assert caught.value.why == (
        "signed was {'noise_multiplier': 5.0}, the job has {'noise_multiplier': 0.0}"
    )


def test_a_workloads_own_name_becomes_one_that_may_be_shown() -> None:
    for own in ("Früherkennung (v2)", "a_b", "x" * 128):
        assert title_of("", own) == own
        replace(REQUEST, name=own)
    for own in ("", "../a", " \n", "a\x1b[31mb", "a\u202eb", "<script>", "y" * 300):
        replace(REQUEST, name=title_of("", own) or "empty is refused nowhere")
    assert title_of("", "a\x1b[31mb") == "a__31mb"
    assert title_of("asked", "own") == "asked"


def test_every_verifier_calls_a_job_by_the_cleaned_name_of_its_workload() -> None:
    asked = replace(REQUEST, name="")
    signed = replace(SIGNED, request=asked)
    check_job(signed, **job(name="a__31mb", workload_name="a\x1b[31mb"))
    with pytest.raises(Denied):
        check_job(signed, **job(name="a\x1b[31mb", workload_name="a\x1b[31mb"))
