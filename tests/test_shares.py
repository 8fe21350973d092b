"""What one party may have of what all share."""

from __future__ import annotations

import pytest

from fedgate.errors import LimitReached
from fedgate_gateway.shares import ALL, Budget, Rate, Share


def budget() -> Budget:
    return Budget("things", {"peer": Share(3, "things_peer"), ALL: Share(5, "things")})


def test_each_holder_has_a_share_and_all_together() -> None:
    things = budget()
    held = things.hold(2, peer="a")
    held.take(1)
    with pytest.raises(LimitReached, match="things_peer"):
        held.take(1)
    things.hold(2, peer="b")
    with pytest.raises(LimitReached, match="all together may have 5"):
        things.hold(1, peer="c")
    held.give_back()
    held.give_back()
    assert (things.held("peer", "a"), things.held(ALL)) == (0, 2)
    things.hold(3, peer="c")


def test_what_is_refused_changes_nothing() -> None:
    things = budget()
    things.hold(3, peer="a")
    with pytest.raises(LimitReached):
        things.hold(3, peer="b")
    assert (things.held("peer", "b"), things.held(ALL)) == (0, 3)


def test_kinds_without_a_share_are_not_counted() -> None:
    things = budget()
    things.hold(3, peer="a", job="j")
    with pytest.raises(LimitReached):
        things.hold(3, job="j")


def test_a_rate_fills_again_evenly_for_each_holder() -> None:
    now = [0.0]
    rate = Rate("things", Share(4, "things_minute"), 60, clock=lambda: now[0])
    for _ in range(4):
        rate.spend("a")
    with pytest.raises(LimitReached, match="things_minute") as told:
        rate.spend("a")
    assert told.value.retry_after == 15
    rate.spend("b")
    now[0] = 15
    rate.spend("a")
    with pytest.raises(LimitReached):
        rate.spend("a")
    now[0] = 1000
    for _ in range(4):
        rate.spend("a")


def test_a_rate_says_how_long_to_wait_and_lets_one_large_thing_pass() -> None:
    now = [0.0]
    rate = Rate("bytes", Share(10, "bytes"), 1, clock=lambda: now[0])
    assert rate.wait("a", 25) == 0  # more than a second's worth: it passes alone
    assert rate.wait("a", 1) == pytest.approx(1.6)
    now[0] = 2.5
    assert rate.wait("a", 10) == 0
