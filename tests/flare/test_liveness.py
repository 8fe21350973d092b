"""Lost sites, told to FLARE's own objects: nobody waits for them, and nobody goes too few."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.impl.bcast_manager import BcastTaskManager
from nvflare.apis.shareable import Shareable

from fedgate.adapter import SiteInfo
from fedgate_flare import _nvflare_private as private
from fedgate_flare.job_folder import JobMeta
from fedgate_flare.liveness import Liveness
from fedgate_flare.wake import Bell

SITES = ("site-1", "site-2", "site-3")
WHY = "its worker was killed"


@pytest.fixture(autouse=True)
def steered_by_the_server(monkeypatch):
    """Whatever other tests have loaded into this process."""
    monkeypatch.setattr("fedgate_flare.status.is_controlled_by_sites", lambda: False)


class Running:
    """A workflow's communicator with one broadcast that every site has."""

    def __init__(self, name="train", needed=0):
        self.task = Task(name, Shareable())
        self.manager = BcastTaskManager(self.task, min_responses=needed)
        self.task.props[private.KEY_TASK_MANAGER] = self.manager
        self.task.targets = list(SITES)
        self.shares = {s: ClientTask(Client(s, s), self.task) for s in SITES}
        for site, share in self.shares.items():
            self.task.client_tasks.append(share)
            self.task.last_client_task_map[site] = share
        self.communicator = private.WFCommServer()
        self.communicator._tasks.append(self.task)
        self.communicator._client_task_map.update({s.id: s for s in self.shares.values()})
        self.disconnected: list[str] = []
        self.communicator.fire_event = self._event

    def _event(self, _kind, context):
        self.disconnected.append(context["site"])

    def answer(self, *sites):
        for site in sites:
            self.shares[site].result_received_time = time.time()

    @property
    def over(self):
        return self.manager.check_task_exit(self.task)[0]


class Context(dict):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def set_prop(self, _key, value):
        self["site"] = value


def watch(running, *, min_clients=1, mandatory=()):
    workflow = SimpleNamespace(controller=SimpleNamespace(communicator=running.communicator))
    server = SimpleNamespace(
        server_runner=SimpleNamespace(current_wf=workflow),
        client_manager=SimpleNamespace(clients={s: Client(s, s) for s in SITES}),
        engine=SimpleNamespace(new_context=Context),
    )
    failed: list[str] = []
    meta = JobMeta("job", {"app": ("@ALL",)}, min_clients, mandatory, {})
    return Liveness(server, meta, SITES, Bell(), failed.append), server, failed


def test_a_broadcast_stops_waiting_for_a_lost_site_and_for_no_other():
    running = Running()
    liveness, server, failed = watch(running)
    liveness.report("site-1", WHY)
    assert running.task.targets == ["site-2", "site-3"]
    assert running.disconnected == ["site-1"]
    assert set(server.client_manager.clients) == {"site-2", "site-3"}
    running.answer("site-2")
    assert not running.over
    running.answer("site-3")
    assert running.over
    assert failed == []


def test_an_answer_that_comes_after_its_sites_loss_does_not_stand_for_another_site():
    running = Running()
    liveness, _, _ = watch(running)
    liveness.report("site-1", WHY)
    running.answer("site-1", "site-2")  # an error, most likely, that was on its way
    assert not running.over
    late = running.shares["site-1"].id
    assert late not in running.communicator._client_task_map
    assert running.communicator._get_completed_client_task_info(late).client_name == "site-1"


def test_an_answer_that_came_before_its_sites_loss_counts():
    running = Running()
    liveness, _, _ = watch(running)
    running.answer("site-1", "site-2")
    liveness.report("site-1", WHY)
    assert running.task.targets == list(SITES)
    assert not running.over
    running.answer("site-3")
    assert running.over


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (
            {"min_clients": 3},
            "site-1 is gone; 2 of 3 sites are left and the job's min_clients is 3",
        ),
        ({"mandatory": ("site-1",)}, f"mandatory sites are gone: site-1: {WHY}"),
    ],
)
def test_a_job_that_may_not_go_on_without_a_site_fails_with_the_reason(rules, words):
    liveness, _, failed = watch(Running(), **rules)
    liveness.report("site-1", WHY)
    assert words in failed[0]
    assert WHY in failed[0]


def test_training_never_ends_with_fewer_sites_than_the_workflow_asks_for():
    running = Running("train", needed=3)
    liveness, _, failed = watch(running)
    liveness.report("site-1", WHY)
    assert "'train' needs 3 sites and 2 are left" in failed[0]
    running.answer("site-2", "site-3")
    assert not running.over


def test_evaluation_goes_on_with_those_that_are_left():
    running = Running("validate", needed=3)
    liveness, _, failed = watch(running)
    liveness.report("site-1", WHY)
    running.answer("site-2", "site-3")
    assert running.over
    assert failed == []


def test_a_later_workflow_hears_of_the_loss_as_well():
    running = Running()
    liveness, server, _ = watch(running)
    liveness.report("site-1", WHY)
    second = Running()
    workflow = SimpleNamespace(controller=SimpleNamespace(communicator=second.communicator))
    server.server_runner.current_wf = workflow
    liveness.settle()
    assert second.disconnected == ["site-1"]
    assert second.task.targets == ["site-2", "site-3"]
    liveness.settle()
    assert second.disconnected == ["site-1"]


def test_when_every_site_is_gone_each_one_says_why():
    liveness, _, failed = watch(Running())
    for site in SITES:
        liveness.report(site, f"{site} had enough")
    (told,) = [why for why in failed if why.startswith("every site is gone: ")]
    assert all(f"{site} had enough" in told for site in SITES)


class Sites:
    """A federation that says of site-1 whatever is next."""

    cancelled = False

    def __init__(self, *states):
        self.states = list(states)

    def sites(self):
        online, returning = self.states[0] if len(self.states) == 1 else self.states.pop(0)
        return [SiteInfo("site-1", 0, online=online, returning=returning)]


def test_a_site_on_its_way_back_is_waited_for_and_not_lost():
    liveness, _, failed = watch(Running(), min_clients=3)
    coming = Sites((False, True), (False, True), (True, False))
    liveness.gone("site-1", WHY, coming)
    assert liveness.comes_back("site-1", WHY, coming)
    assert liveness.lost == set()
    assert failed == []


@pytest.mark.parametrize("then", [(False, False), (False, True)])
def test_a_site_that_does_not_make_it_back_is_lost_in_the_end(then, monkeypatch):
    monkeypatch.setattr("fedgate_flare.liveness.RETURN_SECONDS", 0.0)
    liveness, _, _ = watch(Running())
    assert not liveness.comes_back("site-1", WHY, Sites(then))
    assert liveness.lost == {"site-1"}


def test_where_sites_steer_the_workflow_one_that_restarts_is_lost(monkeypatch):
    monkeypatch.setattr("fedgate_flare.status.is_controlled_by_sites", lambda: True)
    liveness, _, _ = watch(Running())
    liveness.gone("site-1", WHY, Sites((False, True)))
    assert liveness.lost == {"site-1"}
