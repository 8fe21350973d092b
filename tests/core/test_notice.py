"""A notice says one of our sentences with numbers, and can say nothing else."""

from __future__ import annotations

import json

import pytest

from fedgate import errors
from fedgate.codes import SENTENCES, Code
from fedgate.errors import FedgateError, SealBroken, WorkloadFailed
from fedgate.notice import Notice, numbers_of, public, read_notice

EVERY = [Notice(code, dict.fromkeys(numbers_of(code), 7)) for code in Code]


@pytest.mark.parametrize("notice", EVERY, ids=lambda n: str(n.code))
def test_every_code_has_a_sentence_and_survives_its_text(notice: Notice) -> None:
    assert notice.sentence
    assert "{" not in notice.sentence
    assert read_notice(notice.to_text()) == notice


@pytest.mark.parametrize("code", [c for c in Code if numbers_of(c)])
def test_of_a_site_a_sentence_is_told_without_its_numbers(code: Code) -> None:
    numbers = dict.fromkeys(numbers_of(Code.TOO_FEW_SITES), 1)
    told = Notice(Code.TOO_FEW_SITES, numbers, {"site-1": code}).sentence
    assert told.startswith("too few sites can take part: 1 of at least 1 are left; site-1: ")
    assert "{" not in told
    assert SENTENCES[code].startswith(told.partition("site-1: ")[2])


def test_of_an_error_only_what_is_declared_is_public() -> None:
    secret = WorkloadFailed("Patient 7", why="Patient 8", remedy="Patient 9")
    assert "Patient" not in public(secret).to_text() + public(secret).sentence
    declared = SealBroken("x", notice=Notice(Code.ALTERED))
    assert public(declared).code is Code.ALTERED


def test_every_class_of_error_has_a_code() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, FedgateError):
            assert public(kind("x")).code == kind.code


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"denied"', "Patient 7",
        '{"code": "Patient 7"}',
        '{"code": "denied", "why": "Patient 7"}',
        '{"code": "denied", "numbers": {"Patient 7": 1}}',
        '{"code": "no-room", "numbers": {"jobs": "Patient 7"}}',
        '{"code": "no-room", "numbers": {"jobs": true}}',
        '{"code": "no-room", "numbers": {"jobs": NaN}}',
        '{"code": "no-room", "numbers": {"jobs": 1e300}}',
        '{"code": "no-room"}',
        '{"code": "denied", "sites": {"Patient 7": "denied"}}',
        '{"code": "denied", "sites": {"site-1": "Patient 7"}}',
        '{"code": "denied", "sites": [["site-1"]]}',
        '{"code": ["denied"]}',
        json.dumps({"code": "denied", "sites": {f"s{i}": "denied" for i in range(300)}}),
        "[" * 100_000,
        '{"code": "denied"}' + " " * 20_000,
    ],
)  # fmt: skip
def test_anything_else_is_no_notice(text: str) -> None:
    with pytest.raises(ValueError):
        read_notice(text)
