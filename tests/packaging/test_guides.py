"""Guides lead on from what programs say: each code, each exit code, each error at a start."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedgate.codes import Code
from fedgate.errors import FedgateError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "when-something-goes-wrong.md").read_text()
SOURCE = "".join(p.read_text() for p in (ROOT / "gateway").rglob("*.py"))


def kinds(of: type[FedgateError] = FedgateError) -> list[type[FedgateError]]:
    return [of, *(kind for sub in of.__subclasses__() for kind in kinds(sub))]


@pytest.mark.parametrize("code", sorted({*Code, *(str(kind.code) for kind in kinds())}))
def test_each_code_is_on_the_page(code: str) -> None:
    assert f"`{code}`" in PAGE


def test_each_exit_code_is_on_the_page() -> None:
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert told >= {kind.exit_code for kind in kinds()} | {1, 2, 130}


def test_the_words_that_it_quotes_are_those_of_the_programs() -> None:
    rows = re.findall(r"^\| (\".*?) \|", PAGE, re.MULTILINE)
    quoted = {words for row in rows for words in re.findall(r'"([^"]+)"', row)}
    joined = re.sub(r'"\s*\n\s*f?"', "", SOURCE)
    assert len(quoted) > 20
    assert {words for words in quoted if words not in joined} == set()
