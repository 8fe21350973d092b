"""Terms: equal ones are equal bytes, and a site sees every difference but the sandbox's name."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import Denied, EvidenceRejected
from fedgate_gateway.config import Member, ProjectConfig, Release
from fedgate_gateway.link.terms import (
    Terms,
    check_recipient,
    check_terms,
    fingerprint,
    project_terms,
)

IDENTITY = "A" * 43 + "="


def project(**changes: Any) -> ProjectConfig:
    members = {name: Member(identity=IDENTITY) for name in ("a", "b")}
    return ProjectConfig(**{"name": "demo", "members": members, **changes})


def terms(project_file: ProjectConfig | None = None, **changes: Any) -> Terms:
    given_ = {
        "job": "job-1", "bundle": "sha256:" + "ab" * 32, "sites": ("a", "b"), "min_sites": 1,
        "recipient": b"key",
        "request": "sha256:" + "12" * 32, "sandbox": "bubblewrap", **changes,
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
        terms(request="sha256:" + "34" * 32),
    ],
)
def test_terms_that_a_site_did_not_accept_are_refused_by_name(theirs: Terms) -> None:
    with pytest.raises(EvidenceRejected, match="differ from what this site accepted"):
        check_terms(terms(), Terms.read(theirs.to_bytes()))


@pytest.mark.parametrize(
    ("theirs", "part"),
    [
        (terms(project(members={"a": Member(identity=IDENTITY)}), sites=("a", "b")), "members"),
        (terms(project(release=Release(model="clear"))), "release"),
        (terms(project(release=Release(minimum_cohort=2))), "release"),
        (terms(project(name="other")), "name"),
        (
            terms(project(members={**project().members, "fake": Member(identity=IDENTITY)})),
            "members",
        ),
        (
            terms(project(members={**project().members, "b": Member(identity="B" * 42 + "A=")})),
            "members",
        ),
        (terms(project(enclaves={"e": Member(identity=IDENTITY)})), "enclaves"),
        (terms(project(recipients=("sha256:" + "ab" * 32,))), "recipients"),
    ],
)
def test_another_project_file_is_refused_with_the_parts_that_differ(
    theirs: Terms, part: str
) -> None:
    with pytest.raises(EvidenceRejected, match=f"another project file .*: {part} differ"):
        check_terms(terms(), Terms.read(theirs.to_bytes()))


def test_a_changed_release_rule_is_named_with_both_values() -> None:
    theirs = terms(project(release=Release(minimum_cohort=3)))
    with pytest.raises(EvidenceRejected, match=r"release\.minimum_cohort is 1 here, 3 there"):
        check_terms(terms(), theirs)


def test_a_digest_that_does_not_fit_its_parts_is_refused() -> None:
    """An enclave that shows our parts, and the digest of another file."""
    other = replace(terms(), project_file=project(recipients=("x",)).digest())
    with pytest.raises(EvidenceRejected, match="another project file"):
        check_terms(terms(), other)


def test_every_part_of_a_project_file_is_in_its_digest() -> None:
    assert set(project().parts()) == set(ProjectConfig.model_fields)
    spelled_out = project(release=Release(model="sealed"), recipients=[])
    assert spelled_out.digest() == project().digest()


def test_a_project_file_without_a_canonical_form_does_not_load() -> None:
    with pytest.raises(ValueError, match="canonical form"):
        project(release=Release(artifact_bytes=1 << 60))


def test_a_recipient_that_the_project_does_not_list_is_refused() -> None:
    listed = project(recipients=(fingerprint(b"key"),))
    check_recipient(listed, b"key")
    for wrong in (b"the gateway's own key", b""):
        with pytest.raises(Denied):
            check_recipient(listed, wrong)
    clear = Release(model="clear", artifacts="never", logs="never", metrics="never")
    check_recipient(project(release=clear), b"")  # nothing is sealed to anybody


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
