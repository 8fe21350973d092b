"""Fail closed: each way in which a policy engine could say yes by accident is tried."""

from __future__ import annotations

from dataclasses import replace

import cedarpy
import pytest

from fedgate.errors import Denied
from fedgate_gateway.policy import (
    FileFacts,
    JoinRequest,
    Policy,
    SubmitRequest,
    Uid,
    decide_join,
    decide_release,
    decide_submit,
)
from fedgate_gateway.policy import engine as engine_module

PERMIT_ALL = '@id("all") @why("anything goes") permit (principal, action, resource);'
BIG = 2**62


def test_what_no_rule_permits_is_denied_and_says_what_would_be_permitted(join: JoinRequest):
    policy = Policy.from_text(
        '@id("other") @why("Project other may work here.")'
        'permit (principal == Project::"other", action, resource);',
        "site-1",
    )
    decision = decide_join(policy, join)
    assert not decision.allowed
    assert decision.reasons == ()
    assert decision.why == "no rule permits it; permitted is: Project other may work here."


def test_a_forbid_wins_and_its_reason_is_what_the_submitter_reads(join: JoinRequest):
    policy = Policy.from_text(
        PERMIT_ALL + '@id("never") @why("Not today.")forbid (principal, action, resource);',
        "site-1",
    )
    decision = decide_join(policy, join)
    assert not decision.allowed
    assert [rule.id for rule in decision.reasons] == ["never"]
    with pytest.raises(Denied, match=r"site-1 says no: Not today\."):
        decision.require()


def test_an_allowed_decision_names_its_rule_and_requires_nothing(join: JoinRequest):
    decision = decide_join(Policy.from_text(PERMIT_ALL, "x"), join)
    assert decision.allowed
    assert (decision.reasons[0].id, decision.why) == ("all", "anything goes")
    decision.require()


def test_a_forbid_whose_condition_cannot_be_evaluated_denies(join: JoinRequest):
    """Cedar itself skips such a rule and allows; the submitter chooses ``min_sites``."""
    text = PERMIT_ALL + (
        '@id("limit") forbid (principal, action == Action::"join", resource)'
        " when { context.min_sites * 4 > 1000 };"
    )
    policy = Policy.from_text(text, "site-1")
    assert decide_join(policy, join).allowed
    attack = replace(join, workload=replace(join.workload, min_sites=BIG))
    raw = engine_module.ask(policy.parsed.handle, attack.to_request())
    assert not isinstance(raw, str)
    assert raw.allowed  # the trap is real
    decision = decide_join(policy, attack)
    assert not decision.allowed
    assert "overflow" in decision.errors[0]
    assert "could not be evaluated" in decision.why


def test_one_owners_permit_does_not_open_anothers_data(join: JoinRequest):
    generous = Policy.from_text(PERMIT_ALL, "site-1")
    strict = Policy.from_text('permit (principal == Project::"x", action, resource);', "site-2")
    assert decide_join(generous, join).allowed
    assert not decide_join(strict, join).allowed  # loaded side by side in one process
    both = [decide_join(policy, join) for policy in (generous, strict)]
    assert not all(decision.allowed for decision in both)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("evidence"),
        lambda c: c.pop("site_count"),
        lambda c: c.update(surprise=True),
        lambda c: c.update(site_count="2"),
        lambda c: c.update(site_count=2**63),
        lambda c: c.update(site_count=2.5),
        lambda c: c.update(sites=[1, 2]),
        lambda c: c.update(evidence={"kind": "tdx", "hardware": True}),
        lambda c: c.update(evidence={**c["evidence"], "hardware": "true"}),
        lambda c: c.update(submitter="alice"),
        lambda c: c.update(submitter={"__entity": {"type": "Project", "id": "demo"}}),
        lambda c: c.update(name="\ud800"),
        lambda c: c.update(name=float("nan")),
        lambda c: c.update(name=object()),
        lambda c: c.update(name={1, 2}),
    ],
)
def test_a_request_that_does_not_fit_the_schema_is_denied(join: JoinRequest, change):
    policy = Policy.from_text(PERMIT_ALL, "site-1")
    request = join.to_request()
    context = dict(request.context)
    assert policy.decide("join", request.principal, request.resource, context).allowed
    change(context)
    decision = policy.decide("join", request.principal, request.resource, context)
    assert not decision.allowed
    assert decision.errors


@pytest.mark.parametrize(
    ("action", "principal", "resource"),
    [
        ("submit", Uid("Project", "demo"), Uid("Site", "site-1")),
        ("fly", Uid("Project", "demo"), Uid("Site", "site-1")),
        ("join", Uid("User", "demo"), Uid("Site", "site-1")),
        ("join", Uid("Site", "site-1"), Uid("Project", "demo")),
        ("join", Uid("Nothing", "demo"), Uid("Site", "site-1")),
        ("join", Uid("", ""), Uid("", "")),
    ],
)
def test_a_question_that_the_schema_does_not_know_is_denied(
    join: JoinRequest, action: str, principal: Uid, resource: Uid
):
    decision = Policy.from_text(PERMIT_ALL, "x").decide(
        action, principal, resource, join.to_request().context
    )
    assert not decision.allowed
    assert decision.errors


def test_a_huge_request_is_denied_before_it_is_evaluated(submit: SubmitRequest):
    policy = Policy.from_text(PERMIT_ALL, "gateway")
    flood = tuple(f"package-{i}" for i in range(100_000))
    decision = decide_submit(
        policy, replace(submit, workload=replace(submit.workload, dependencies=flood))
    )
    assert not decision.allowed
    assert "too large" in decision.why


def test_names_cannot_smuggle_cedar(submit: SubmitRequest):
    policy = Policy.from_text('permit (principal == User::"root", action, resource);', "gateway")
    for name in ('alice" || principal == User::"root', 'root\\"', "root\n", " root", "ROOT", ""):
        assert not decide_submit(policy, replace(submit, submitter=name)).allowed, name
    assert decide_submit(policy, replace(submit, submitter="root")).allowed


def test_a_site_named_twice_counts_once(submit: SubmitRequest):
    policy = Policy.from_text(
        'permit (principal, action == Action::"submit", resource)'
        " when { context.site_count >= 2 };",
        "gateway",
    )
    alone = replace(submit.workload, sites=("site-1", "site-1", "site-1"))
    assert decide_submit(policy, submit).allowed
    assert not decide_submit(policy, replace(submit, workload=alone)).allowed


class Panic(BaseException):
    """As a panic of the engine arrives in Python."""


@pytest.mark.parametrize("failure", [Panic("panicked"), ValueError("bad"), MemoryError()])
def test_an_engine_that_breaks_denies(join: JoinRequest, monkeypatch, failure: BaseException):
    def broken(*args: object) -> None:
        raise failure

    policy = Policy.from_text(PERMIT_ALL, "x")
    monkeypatch.setattr(cedarpy, "is_authorized", broken)
    decision = decide_join(policy, join)
    assert not decision.allowed
    assert type(failure).__name__ in decision.why


@pytest.mark.parametrize(
    "answer",
    [
        {"decision": "NoDecision", "diagnostics": {}},
        {"decision": "Allow", "diagnostics": {"reason": ["policy7"]}},
        {"decision": "Allow", "diagnostics": {"reason": []}},
        {"decision": "Allow", "diagnostics": {"reason": ["policy1"]}},
        {"decision": "Allow", "diagnostics": {"reason": ["policy0"], "errors": ["x"]}},
    ],
)
def test_an_answer_that_does_not_add_up_denies(join: JoinRequest, monkeypatch, answer: dict):
    policy = Policy.from_text(
        PERMIT_ALL + 'forbid (principal == Project::"x", action, resource);', "x"
    )
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *args: cedarpy.AuthzResult(answer))
    assert not decide_join(policy, join).allowed


FILES = FileFacts(2, 100, ("psi/common.csv", "curve.png"))


def test_who_let_jobs_in_has_not_let_out_files(join: JoinRequest):
    everything = Policy.from_text("permit (principal, action, resource);", "site")
    assert decide_join(everything, join).allowed
    decision = decide_release(everything, join, FILES)
    assert not decision.allowed
    assert "no rule permits it" in decision.why
    named = 'permit (principal, action in [Action::"join", Action::"release_files"], resource);'
    assert decide_release(Policy.from_text(named, "site"), join, FILES).allowed
    both = f"{named} forbid (principal, action, resource);"
    assert not decide_release(Policy.from_text(both, "site"), join, FILES).allowed


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (("psi/common.csv",), True),
        (("psi/common.csv", "psi/Common.CSV"), False),
        (("psi/common.csv", "Müller, Eva.csv"), False),  # "unnamed"
        (("psi/common.csv", 'x"].isEmpty() || ["'), False),
        (("psi/common.csv", "a" * 129), False),
    ],
)
def test_names_of_files_are_shown_in_one_alphabet_and_otherwise_fit_no_list(
    join: JoinRequest, names: tuple[str, ...], allowed: bool
):
    text = (
        'permit (principal, action == Action::"release_files", resource) '
        'when { ["psi/common.csv"].containsAll(context.file_names) };'
    )
    found = FileFacts(len(names), 10, names)
    assert decide_release(Policy.from_text(text, "site"), join, found).allowed is allowed
    shown = set("".join(found.context()["file_names"]))
    assert all(c.isascii() and (c.isalnum() or c in "._-/") for c in shown), shown


@pytest.mark.parametrize(
    ("names", "allowed"),
    [(("a.csv", "b.CSV"), True), (("a.csv", "b"), False), (("a.csv", "a.csv.exe"), False),
     (("a.csv", "a.Müller"), False), (("archive.tar.gz",), False)],
)  # fmt: skip
def test_types_of_files_can_be_listed(join: JoinRequest, names: tuple[str, ...], allowed: bool):
    text = (
        'permit (principal, action == Action::"release_files", resource) '
        'when { [".csv"].containsAll(context.file_types) };'
    )
    found = FileFacts(len(names), 10, names)
    assert decide_release(Policy.from_text(text, "site"), join, found).allowed is allowed


def test_as_many_files_as_a_site_releases_fit_into_one_question(join: JoinRequest):
    from fedgate_gateway.site.site_files import MOST_FILES

    text = 'permit (principal, action == Action::"release_files", resource);'
    names = tuple(f"{n:0128d}" for n in range(MOST_FILES))
    found = FileFacts(MOST_FILES, 1 << 30, names)
    assert decide_release(Policy.from_text(text, "site"), join, found).allowed
