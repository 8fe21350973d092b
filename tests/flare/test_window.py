"""No closed task takes a result, and a broadcast stays open for what is here or about to come."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task, TaskCompletionStatus
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.any_relay_manager import AnyRelayTaskManager
from nvflare.apis.impl.bcast_manager import BcastTaskManager
from nvflare.apis.shareable import Shareable

from fedgate_flare import _nvflare_private as private
from fedgate_flare import window as window_module
from fedgate_flare.arrivals import Arrivals
from fedgate_flare.window import Window, guard

SITES = ("site-1", "site-2", "site-3")


class Controller:
    """Takes whatever it is offered, as ScatterAndGather does."""

    def __init__(self):
        self.taken: list[tuple[str, str]] = []

    def process_result_of_unknown_task(self, client, _name, _id, _result, _context):
        self.taken.append((client.name, "unknown"))

    def received(self, client_task, fl_ctx):
        self.taken.append((client_task.client.name, "known"))


class Round:
    """One task that every site has, in a real communicator."""

    def __init__(self, needed=2, manager=BcastTaskManager):
        self.controller = Controller()
        self.task = Task("train", Shareable(), result_received_cb=self.controller.received)
        if manager is BcastTaskManager:
            self.manager = manager(self.task, min_responses=needed)
        else:
            self.manager = manager(self.task, task_result_timeout=1, dynamic_targets=False)
        self.task.props[private.KEY_TASK_MANAGER] = self.manager
        self.task.targets = list(SITES)
        self.task.schedule_time = time.time()
        self.communicator = private.WFCommServer()
        self.communicator.controller = self.controller
        self.communicator.fire_event = lambda *_: None
        self.communicator._engine = SimpleNamespace(new_context=FLContext)
        self.communicator._tasks.append(self.task)
        self.shares = {}
        for site in SITES:
            self.send(site)

    def send(self, site):
        share = self.shares[site] = ClientTask(Client(site, site), self.task)
        self.task.client_tasks.append(share)
        self.task.last_client_task_map[site] = share
        self.communicator._client_task_map[share.id] = share

    def answer(self, site, share=None):
        task_id = (share or self.shares[site]).id
        self.communicator.process_submission(
            Client(site, site), "train", task_id, Shareable(), FLContext()
        )

    @property
    def closed(self):
        with self.communicator._task_lock:
            return self.manager.check_task_exit(self.task)[0]


@pytest.fixture
def arrivals(monkeypatch):
    """What sites do, for a window that FLARE's classes obey during the test."""
    for owner, method in (
        (private.BcastTaskManager, "check_task_exit"),
        (private.WFCommServer, "_do_process_submission"),
    ):
        monkeypatch.setattr(owner, method, getattr(owner, method))
    found = Arrivals()
    guard(Window(found, lost=set()))
    return found


def test_a_result_of_a_closed_task_is_dropped_and_the_log_says_so(arrivals, caplog):
    round_ = Round()
    round_.answer("site-1")
    late = round_.shares["site-3"]
    round_.communicator.cancel_task(round_.task)
    round_.answer("site-2")
    round_.communicator.check_tasks()  # it is forgotten
    round_.answer("site-3", late)
    assert round_.controller.taken == [("site-1", "known")]
    assert "site-3 for 'train' came after the workflow had closed that task" in caplog.text


def test_a_task_that_ran_out_of_time_takes_nothing_more(arrivals):
    round_ = Round()
    round_.task.timeout, round_.task.schedule_time = 1, time.time() - 2
    round_.communicator.check_tasks()
    assert round_.task.completion_status is TaskCompletionStatus.TIMEOUT
    round_.answer("site-1")
    assert round_.controller.taken == []


def test_a_relay_takes_the_result_of_the_site_that_has_it_now(arrivals):
    round_ = Round(manager=AnyRelayTaskManager)
    given_up = round_.shares["site-1"]
    round_.answer("site-1", given_up)
    round_.answer("site-3")
    assert round_.controller.taken == [("site-3", "known")]


def test_a_broadcast_with_its_minimum_waits_a_moment_for_a_site_that_is_at_it(
    arrivals, monkeypatch
):
    round_ = Round()
    for site in SITES:
        arrivals.sent(site, round_.shares[site].id)
    for site in SITES[:2]:
        arrivals.settled(site)
        round_.answer(site)
    assert not round_.closed
    monkeypatch.setattr(window_module, "GRACE", 0.0)
    assert round_.closed


def test_it_never_closes_before_a_result_that_is_here(arrivals, monkeypatch):
    monkeypatch.setattr(window_module, "GRACE", 0.0)
    round_ = Round()
    arrivals.came("site-3", round_.shares["site-3"].id)
    round_.answer("site-1")
    round_.answer("site-2")
    assert not round_.closed
    round_.answer("site-3")
    arrivals.settled("site-3")
    assert round_.closed


def test_it_does_not_wait_for_a_site_that_still_does_an_earlier_round(arrivals):
    round_ = Round()
    arrivals.sent("site-3", "an earlier round's")
    round_.answer("site-1")
    round_.answer("site-2")
    assert round_.closed


def test_it_waits_for_a_site_whose_earlier_result_is_being_handed_over(arrivals):
    """It comes for this round as soon as a thread of the coordinator gets its turn."""
    round_ = Round()
    arrivals.came("site-3", "an earlier round's")
    round_.answer("site-1")
    round_.answer("site-2")
    assert not round_.closed


def test_a_broadcast_that_needs_all_waits_for_all_as_ever(arrivals):
    round_ = Round(needed=0)
    arrivals.sent("site-3", "an earlier round's")
    round_.answer("site-1")
    round_.answer("site-2")
    assert not round_.closed
    round_.answer("site-3")
    assert round_.closed
