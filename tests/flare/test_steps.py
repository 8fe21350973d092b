"""A workflow's broadcast is over once, and only when nothing of it is on its way out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fedgate_flare.steps import Steps


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def steps(ended: list[str]) -> Steps:
    return Steps(SimpleNamespace(end_step=ended.append))


def test_what_the_workflow_has_closed_is_not_sent_any_more(steps: Steps, ended: list[str]) -> None:
    assert steps.may_send("x")
    steps.sent("x")
    steps.end("x")
    assert ended == ["x"]
    assert not steps.may_send("x")
    assert steps.may_send("y")


def test_it_is_over_only_when_all_that_began_to_be_sent_is_out(
    steps: Steps, ended: list[str]
) -> None:
    """Else a task that comes after the end would begin a second round."""
    assert steps.may_send("x")
    assert steps.may_send("x")
    steps.end("x")
    steps.sent("x")
    assert ended == []
    steps.sent("x")
    steps.end("x")  # FLARE takes it down once more, with its workflow
    assert ended == ["x"]
