"""What policies can say about values of settings, about who signed, and about sandboxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.manifest import Manifest
from fedgate.task import Scalar
from fedgate_gateway.policy import EvidenceFacts, JoinRequest, Policy, WorkloadFacts, decide_join

OPEN = "permit (principal, action, resource);"
NOISE = """
@id("enough-noise") @why("At least 1.0 of noise.")
forbid (principal, action == Action::"join", resource)
unless {
  context.settings.hasTag("noise_multiplier") &&
  context.settings.getTag("noise_multiplier").low.greaterThanOrEqual(decimal("1.0"))
};
"""
RATE = """
@id("slow") @why("At most 0.1 of learning rate.")
forbid (principal, action == Action::"join", resource)
when {
  context.settings.hasTag("lr") &&
  context.settings.getTag("lr").high.greaterThan(decimal("0.1"))
};
"""

Ask = Callable[..., bool]


@pytest.fixture
def ask(join: JoinRequest) -> Ask:
    def ask(rule: str, **facts: object) -> bool:
        evidence = replace(join.evidence, sandbox=facts.pop("sandbox", "bubblewrap"))
        request = replace(join, evidence=evidence, workload=replace(join.workload, **facts))
        return decide_join(Policy.from_text(OPEN + rule, "site-1"), request).allowed

    return ask


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (5.0, True), (1.0, True), (1, True), (1e3, True),
        (0.0, False), (0.9999, False), (0.99999999, False), (-5.0, False), (0, False),
        ("5.0", False), (True, False), (1e300, False), (10**30, False),
    ],
)  # fmt: skip
def test_a_policy_demands_a_least_value(ask: Ask, value: Scalar, allowed: bool) -> None:
    """What is no number, or too large for Cedar to compare, is never enough."""
    assert ask(NOISE, settings={"noise_multiplier": value}) == allowed


def test_a_setting_that_is_not_there_is_not_enough(ask: Ask) -> None:
    assert not ask(NOISE, settings={})
    assert not ask(NOISE, settings={"noise": 5.0})


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(0.1, True), (0.05, True), (0.10001, False), (0.2, False), ("0.05", False), (-1e300, False)],
)
def test_a_policy_sets_a_largest_value(ask: Ask, value: Scalar, allowed: bool) -> None:
    assert ask(RATE, settings={"lr": value}) == allowed


@given(
    value=st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.text()
    | st.booleans()
)
def test_rounding_errs_towards_no(value: Scalar) -> None:
    from fedgate_gateway.policy.settings import settings_entity

    tag = settings_entity({"x": value})["tags"]["x"]
    low, high = (float(tag[end]["__extn"]["arg"]) for end in ("low", "high"))
    assert low <= high
    if isinstance(value, int | float) and abs(value) < 1e9:
        assert low - 1e-9 <= value <= high + 1e-9
        assert high - low <= 0.00011 or isinstance(value, bool)


def test_text_is_compared_as_text(ask: Ask) -> None:
    rule = """forbid (principal, action == Action::"join", resource)
    unless { context.settings.hasTag("optimizer") &&
             ["sgd", "adam"].contains(context.settings.getTag("optimizer").text) };"""
    assert ask(rule, settings={"optimizer": "adam"})
    assert not ask(rule, settings={"optimizer": "lion"})
    assert not ask(rule, settings={"optimizer": 'adam", "lion'})


@pytest.mark.parametrize("name", ["a.b", "with space", 'qu"ote', "ü", "__entity", ""])
def test_any_name_of_a_setting_is_only_a_name(ask: Ask, name: str) -> None:
    assert ask("", settings={name: 1.5})
    assert not ask(NOISE, settings={name: 5.0})


def test_a_rule_that_forgets_to_ask_whether_a_setting_is_there_does_not_load() -> None:
    from fedgate.errors import InvalidConfig

    with pytest.raises(InvalidConfig, match="access to tag"):
        Policy.from_text(
            OPEN.removesuffix(";") + ' when { context.settings.getTag("x").text == "" };',
            "x",
        )


def test_a_flood_of_settings_is_denied(ask: Ask) -> None:
    assert not ask("", settings={f"setting-{n}": 1.0 for n in range(5000)})


def test_a_policy_forbids_what_only_a_gateway_signed(ask: Ask) -> None:
    rule = """forbid (principal, action == Action::"join", resource)
    when { context.signed_by == "gateway" };"""
    assert ask(rule, signed_by="submitter")
    assert not ask(rule, signed_by="gateway")
    assert not ask(rule)  # nobody said so: the lesser of the two


def test_a_policy_forbids_an_enclave_without_a_sandbox(ask: Ask) -> None:
    rule = """forbid (principal, action == Action::"join", resource)
    when { context.evidence.sandbox == "process" };"""
    assert ask(rule, sandbox="bubblewrap")
    assert not ask(rule, sandbox="process")


def test_a_policy_bounds_the_time_of_a_task_and_the_minimum_of_sites(ask: Ask) -> None:
    rule = """forbid (principal, action == Action::"join", resource)
    unless { context.task_seconds > 0 && context.task_seconds <= 600 && context.min_sites >= 2 };"""
    assert ask(rule, task_seconds=600.0)
    assert not ask(rule, task_seconds=600.1)  # rounded up
    assert not ask(rule, task_seconds=None)
    assert not ask(rule, task_seconds=600.0, min_sites=1)


def test_facts_hold_defaults_and_overrides_of_settings() -> None:
    manifest = Manifest("flower", "n", config={"rounds": 3, "noise_multiplier": 5.0})
    facts = WorkloadFacts.of(
        manifest, name="n", bundle="sha256:0", sites=("a",), min_sites=1, task_seconds=None,
        config={"noise_multiplier": 0.0}, request="sha256:1", signed_by="submitter",
    )  # fmt: skip
    assert facts.settings == {"rounds": 3, "noise_multiplier": 0.0}
    assert facts.config == ("noise_multiplier",)


def test_evidence_without_a_sandbox_is_no_known_sandbox() -> None:
    assert EvidenceFacts("tdx", True).sandbox == ""
