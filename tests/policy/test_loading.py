from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fedgate.errors import InvalidConfig
from fedgate_gateway.policy import Policy, check, digest

GOOD = '@id("all") permit (principal, action, resource);'


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ('permit (principal == Projekt::"demo", action, resource);', "Projekt"),
        ('permit (principal, action == Action::"jion", resource);', "jion"),
        (
            ('@id("few") permit (principal, action == Action::"join", resource)'
             " when { context.site_cuont > 1 };"),
            "few: attribute `site_cuont`",
        ),
        (
            ('permit (principal, action == Action::"join", resource)'
             ' when { context.site_count > "1" };'),
            "rule 1",
        ),
        (
            ('permit (principal, action == Action::"submit", resource)'
             ' when { context.evidence.kind == "tdx" };'),
            "evidence",
        ),
        ('permit (principal == Site::"a", action == Action::"join", resource);', "applicable"),
        ("permit (principal, action, resource)", "unexpected end"),
        ("", "no rules"),
        ("// nothing but a comment", "no rules"),
        (GOOD + GOOD, "two rules have the @id 'all'"),
        (GOOD + 'forbid (principal == ?principal, action, resource);', "templates"),
        ("// " + "x" * 300_000, "longer than"),
        ("\ud800" + GOOD, ""),
    ],
)  # fmt: skip
def test_a_policy_with_a_mistake_does_not_load_and_says_where(text: str, finding: str):
    with pytest.raises(InvalidConfig) as raised:
        Policy.from_text(text, "site-1")
    assert finding in raised.value.why


def test_every_mistake_is_listed_at_once():
    text = (
        'permit (principal == Projekt::"demo", action, resource);'
        'forbid (principal, action == Action::"jion", resource);'
    )
    with pytest.raises(InvalidConfig, match=r"Projekt.*jion"):
        Policy.from_text(text, "site-1")


def test_check_finds_the_same_in_a_file(tmp_path: Path):
    file = tmp_path / "p.cedar"
    file.write_text(GOOD)
    assert check(file) == ()
    file.write_text('permit (principal, action == Action::"jion", resource);')
    assert any("jion" in problem for problem in check(file))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path, content: bytes | None):
    file = tmp_path / "p.cedar"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InvalidConfig):
        check(file)
    with pytest.raises(InvalidConfig):
        Policy.load(file)


def test_the_digest_is_that_of_the_text():
    policy = Policy.from_text(GOOD, "x")
    assert digest(policy) == policy.digest == hashlib.sha256(GOOD.encode()).digest()
    assert Policy.from_text(GOOD + " ", "x").digest != policy.digest


def test_rules_carry_their_name_effect_and_reason():
    policy = Policy.from_text(GOOD + '@why(" no ") forbid (principal, action, resource);', "x")
    assert [(r.id, r.effect, r.why) for r in policy.rules] == [
        ("all", "permit", ""),
        ("rule 2", "forbid", "no"),
    ]
