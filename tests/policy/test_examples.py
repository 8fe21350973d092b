"""The demonstration's policies say what their comments say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedgate_gateway.policy import (
    EvidenceFacts,
    FileFacts,
    JoinRequest,
    Policy,
    ReleaseFacts,
    SubmitRequest,
    check,
    decide_join,
    decide_release,
    decide_submit,
    explain,
)

FOLDER = Path(__file__).parents[2] / "examples" / "policies"


@pytest.fixture(scope="module")
def site() -> Policy:
    return Policy.load(FOLDER / "site.cedar")


@pytest.fixture(scope="module")
def gateway() -> Policy:
    return Policy.load(FOLDER / "gateway.cedar")


def test_every_example_loads_and_every_rule_has_a_name_and_a_reason():
    files = sorted(FOLDER.glob("*.cedar"))
    assert len(files) >= 2
    for file in files:
        assert check(file) == ()
        for rule in Policy.load(file).rules:
            assert rule.why.endswith("."), rule
            assert not rule.id.startswith("rule "), rule


def test_the_demonstration_itself_is_allowed(
    site: Policy, gateway: Policy, submit: SubmitRequest, join: JoinRequest
):
    assert decide_submit(gateway, submit).allowed
    assert decide_join(site, join).allowed
    flare = replace(join.workload, framework="flare", name="digits")
    assert decide_join(site, replace(join, workload=flare, datasets=("digits",))).allowed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda j: replace(j, project="other"), "no rule permits it"),
        (lambda j: replace(j, workload=replace(j.workload, framework="x")), "no rule permits it"),
        (lambda j: replace(j, workload=replace(j.workload, sites=("site-1",))), "At least two"),
        (lambda j: replace(j, release=ReleaseFacts(minimum_cohort=1)), "At least two sites"),
        (lambda j: replace(j, datasets=("breast-cancer", "payroll")), "Only the datasets"),
        (lambda j: replace(j, evidence=EvidenceFacts("other", True)), "enclaves with evidence"),
    ],
)
def test_a_site_refuses_what_its_policy_says_with_the_owners_words(
    site: Policy, join: JoinRequest, change, sentence: str
):
    decision = decide_join(site, change(join))
    assert not decision.allowed
    assert not decision.errors
    assert sentence in decision.why


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: replace(s, project="other"), "no rule permits it"),
        (lambda s: replace(s, workload=replace(s.workload, sites=("a",))), "at least two sites"),
        (lambda s: replace(s, workload=replace(s.workload, framework="x")), "no rule permits it"),
    ],
)
def test_the_gateway_refuses_what_its_policy_says(
    gateway: Policy, submit: SubmitRequest, change, sentence: str
):
    decision = decide_submit(gateway, change(submit))
    assert not decision.allowed
    assert sentence in decision.why


def test_an_explanation_names_the_condition_that_did_not_hold(site: Policy, join: JoinRequest):
    wrong = replace(join, workload=replace(join.workload, framework="x"))
    explanation = explain(site, wrong.to_request())
    assert explanation.decision == decide_join(site, wrong)
    trace = next(t for t in explanation.rules if t.rule.id == "demo-training")
    assert (trace.in_scope, trace.applied, trace.decided) == (True, False, False)
    assert trace.failed == ('when { ["flower", "flare"].contains(context.framework) }',)


def test_an_explanation_tells_scope_from_condition_and_what_decided(
    site: Policy, join: JoinRequest
):
    other = explain(site, replace(join, project="other").to_request())
    trace = next(t for t in other.rules if t.rule.id == "demo-training")
    assert (trace.in_scope, trace.failed) == (False, ())
    wrong = explain(site, replace(join, datasets=("payroll",)).to_request())
    decided = [t.rule.id for t in wrong.rules if t.decided]
    applied = [t.rule.id for t in wrong.rules if t.applied]
    assert decided == ["known-datasets"]
    assert applied == ["demo-training", "known-datasets"]


def test_a_site_leaves_frames_to_its_guards_list(site: Policy, join: JoinRequest):
    """What the list allows must not need a second yes."""
    asked = replace(join, workload=replace(join.workload, frames=("aux:x",)))
    assert decide_join(site, asked).allowed


def test_a_site_lets_files_go_as_its_policy_says(site: Policy, join: JoinRequest):
    names = tuple(f"psi/{n}.csv" for n in range(100))
    assert decide_release(site, join, FileFacts(100, 5000, names)).allowed
    assert not decide_release(site, join, FileFacts(101, 5000, (*names, "more.csv"))).allowed
    other = replace(join, project="other")
    assert "no rule permits it" in decide_release(site, other, FileFacts()).why
