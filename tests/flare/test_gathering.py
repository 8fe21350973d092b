"""Swarm learning: the site that aggregates a round takes results of this round only."""

from __future__ import annotations

import logging
import threading
import time

import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.ccwf.swarm_client_ctl import Gatherer, _TrainerStatus

from fedgate_flare.gathering import guard_gatherer

SITES = ("site-1", "site-2", "site-3")


class Aggregator:
    def __init__(self):
        self.taken: list[tuple[str, int]] = []

    def accept(self, result, _context):
        self.taken.append((result["site"], result.get_header(AppConstants.CURRENT_ROUND)))
        return True


@pytest.fixture
def gatherer(monkeypatch):
    for method in ("_do_gather", "is_done"):
        monkeypatch.setattr(Gatherer, method, getattr(Gatherer, method))
    monkeypatch.setattr(Gatherer, "fire_event", lambda *_: None)
    guard_gatherer(Gatherer)
    made = Gatherer.__new__(Gatherer)
    made.logger = logging.getLogger("gatherer")
    made.fl_ctx, made.aggregator = FLContext(), Aggregator()
    made.for_round, made.timeout, made.start_time = 4, None, time.time()
    made.trainer_statuses = {s: _TrainerStatus(s) for s in SITES}
    made.min_responses_required, made.wait_time_after_min_resps_received = 2, 0.001
    made.min_resps_received_time = None
    made.lock, made.perm_lock = threading.Lock(), threading.Lock()
    return made


def give(gatherer, site, round_):
    result = Shareable({"site": site})
    result.set_header(AppConstants.CURRENT_ROUND, round_)
    return gatherer.gather(site, result, FLContext())


def test_a_result_of_an_earlier_round_is_dropped(gatherer):
    give(gatherer, "site-3", 3)
    give(gatherer, "site-1", 4)
    assert gatherer.aggregator.taken == [("site-1", 4)]


def test_a_site_that_is_a_moment_later_is_waited_for(gatherer):
    give(gatherer, "site-1", 4)
    give(gatherer, "site-2", 4)
    time.sleep(0.01)
    assert not gatherer.is_done()
    give(gatherer, "site-3", 4)
    assert gatherer.is_done()


def test_nothing_comes_in_once_the_round_is_being_aggregated(gatherer):
    give(gatherer, "site-1", 4)
    give(gatherer, "site-2", 4)
    gatherer.min_resps_received_time -= 10
    assert gatherer.is_done()
    give(gatherer, "site-3", 4)
    assert [site for site, _ in gatherer.aggregator.taken] == ["site-1", "site-2"]
