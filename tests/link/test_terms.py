"""Terms: equal ones are equal bytes, and a site sees every difference but the sandbox's name."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import EvidenceRejected
from fedgate_gateway.config import Member, ProjectConfig, Release
from fedgate_gateway.link.terms import Terms, check_terms, fingerprint, project_terms

IDENTITY = "A" * 43 + "="


def project(**changes: Any) -> ProjectConfig:
    members = {name: Member(identity=IDENTITY) for name in ("a", "b")}
    return ProjectConfig(**{"name": "demo", "members": members, **changes})


def terms(project_file: ProjectConfig | None = None, **changes: Any) -> Terms:
    given_ = {
        "job": "job-1", "bundle": "sha256:" + "ab" * 32, "sites": ("a", "b"), "min_sites": 1,
        "recipient": b"key", "sandbox": "bubblewrap", **changes,
    }  # fmt: skip
    return project_terms(project_file or project(), **given_)


def test_the_same_job_and_project_give_the_same_bytes_and_come_back() -> None:
    assert terms().to_bytes() == terms().to_bytes()
    assert Terms.read(terms().to_bytes()) == terms()


def test_nobody_can_tell_a_recipients_key_from_its_fingerprint() -> None:
    assert terms().recipient == fingerprint(b"key")
    assert terms(recipient=b"").recipient == ""


@pytest.mark.parametrize(
    "theirs",
    [
        terms(bundle="sha256:" + "cd" * 32),
        terms(sites=("a",)),
        terms(sites=("b", "a")),
        terms(min_sites=2),
        terms(recipient=b"the gateway's own key"),
        terms(recipient=b""),
        terms(job="job-2"),
        terms(project(members={"a": Member(identity=IDENTITY)}), sites=("a", "b")),
        terms(project(release=Release(model="clear"))),
        terms(project(release=Release(minimum_cohort=2))),
        terms(project(name="other")),
        terms(project(members={**project().members, "fake": Member(identity=IDENTITY)})),
        terms(project(members={**project().members, "b": Member(identity="B" * 42 + "A=")})),
    ],
)
def test_terms_that_a_site_did_not_accept_are_refused_by_name(theirs: Terms) -> None:
    with pytest.raises(EvidenceRejected, match="differ from what this site accepted"):
        check_terms(terms(), Terms.read(theirs.to_bytes()))


def test_the_sandbox_is_for_policy_to_judge() -> None:
    check_terms(terms(), terms(sandbox="process"))


def test_another_spelling_of_the_same_terms_is_refused() -> None:
    data = json.dumps(json.loads(terms().to_bytes()), indent=1).encode()
    with pytest.raises(EvidenceRejected, match="canonical"):
        Terms.read(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff"])
def test_what_is_no_terms_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRejected):
        Terms.read(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_terms_or_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRejected):
        Terms.read(data)


def test_a_missing_or_extra_field_is_refused() -> None:
    fields = json.loads(terms().to_bytes())
    with pytest.raises(EvidenceRejected):
        Terms.read(
            json.dumps({**fields, "more": 1}, separators=(",", ":"), sort_keys=True).encode()
        )
    del fields["recipient"]
    with pytest.raises(EvidenceRejected):
        Terms.read(json.dumps(fields, separators=(",", ":"), sort_keys=True).encode())
    assert replace(terms(), recipient="") != terms()
