"""The small parts between FLARE and Fedgate, each by itself."""

from __future__ import annotations

import ast
import logging
import math
import threading
import time
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.shareable import Shareable
from packaging.requirements import Requirement

import fedgate_flare
from fedgate.errors import InvalidModel, UnsupportedVersion, WorkloadFailed
from fedgate.model import Model
from fedgate.task import TaskKind
from fedgate_flare import _nvflare_private, demands, messages
from fedgate_flare.adapter import FlareAdapter
from fedgate_flare.last_error import LastError
from fedgate_flare.ledger import Ledger
from fedgate_flare.mailbox import Mailbox, Nothing
from fedgate_flare.release import model_of
from fedgate_flare.shared_models import SharedModels
from fedgate_flare.wake import Bell, WakefulTime


def test_private_names_of_nvflare_are_imported_in_one_module_only():
    folder = Path(fedgate_flare.__file__).parent
    for path in folder.glob("*.py"):
        if path.name == "_nvflare_private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nvflare"):
                assert "private" not in node.module, path
                assert not any(alias.name.startswith("_") for alias in node.names), path


#: The releases of FLARE that the adapter works with, and some that it does not.
PASS, FAIL = ("2.9.0", "2.9.1"), ("2.7.2", "2.8.0", "2.10.0", "3.0.0", None)


@pytest.mark.parametrize("installed", [*PASS, *FAIL])
def test_these_releases_of_flare_pass_and_others_are_refused_in_a_sentence(installed, monkeypatch):
    def version(_name):
        if installed is None:
            raise PackageNotFoundError
        return installed

    monkeypatch.setattr(_nvflare_private, "version", version)
    asked = [Requirement(f"nvflare{demands.SUPPORTED}"), *map(Requirement, FlareAdapter.requires)]
    if installed in PASS:
        _nvflare_private._check_version()
        assert all(one.specifier.contains(installed, prereleases=True) for one in asked)
        return
    with pytest.raises(UnsupportedVersion, match=r"not supported|not installed") as refused:
        _nvflare_private._check_version()
    assert "\n" not in str(refused.value)
    assert not any(installed and one.specifier.contains(installed) for one in asked)


def test_the_release_that_is_installed_here_is_one_of_them():
    assert metadata.version("nvflare") in PASS


def test_a_bell_that_rang_before_the_wait_is_not_missed():
    bell = Bell()
    seen = bell.rings
    bell.ring()
    assert bell.wait(seen, 30) == seen + 1


def test_a_sleeping_loop_wakes_at_the_ring():
    bell = Bell()
    clock = WakefulTime(bell)
    clock.sleep(0.001)
    threading.Timer(0.05, bell.ring).start()
    clock.sleep(600)  # longer than a test may take


def test_the_site_hears_when_its_runner_ends_instead_of_answering():
    mailbox = Mailbox()
    runner = threading.Thread(target=lambda: (mailbox.fetch(lambda: False), mailbox.end()))
    runner.start()
    assert mailbox.wait_until_asked(60)
    assert mailbox.exchange(Shareable()) is None


def test_a_runner_that_holds_counts_as_there_and_goes_on_when_the_server_begins():
    mailbox = Mailbox()
    went_on = threading.Event()

    def runner():
        mailbox.hold()
        went_on.set()
        mailbox.fetch(lambda: False)

    threading.Thread(target=runner, daemon=True).start()
    assert mailbox.wait_until_asked(60)
    assert not went_on.wait(0.05)
    assert mailbox.begin(60)  # until it asks for its first task
    assert went_on.is_set()


def test_a_runner_that_fails_at_its_start_did_not_begin():
    mailbox = Mailbox()
    threading.Thread(target=lambda: (mailbox.hold(), mailbox.end()), daemon=True).start()
    assert mailbox.wait_until_asked(60)
    assert not mailbox.begin(60)


def test_an_aborted_runner_stops_waiting_for_tasks():
    assert Mailbox().fetch(lambda: True) is Nothing.MORE


def open_task(ledger, key="k", *, broadcast=True, workflow="w", kind=TaskKind.TRAIN):
    ledger.opened(key, "train", kind, 1, broadcast=broadcast, workflow=workflow)


def test_a_runner_that_has_something_to_say_looks_up_at_once():
    mailbox = Mailbox()
    mailbox.poke()
    assert mailbox.fetch(lambda: False) is Nothing.YET
    assert mailbox.fetch(lambda: False, patience=0.01) is Nothing.YET


def test_a_task_that_every_site_failed_at_is_no_success():
    ledger = Ledger()
    open_task(ledger)
    ledger.failed("k", "site-1", "no data")
    with pytest.raises(WorkloadFailed, match="no data"):
        ledger.require_success()


def test_a_task_that_somebody_answered_is_a_success():
    ledger = Ledger()
    open_task(ledger)
    ledger.failed("k", "site-1", "no data")
    ledger.answered("k", "site-2")
    ledger.require_success()


def test_a_task_that_the_workflow_gave_up_is_no_success():
    ledger = Ledger()
    open_task(ledger)
    ledger.asked("k", "site-1", time.time(), "no answer within 1 s")
    ledger.asked("k", "site-2", time.time() + 60, "no answer within 60 s")
    ledger.asked("k", "site-3", math.inf, "cannot be")
    assert ledger.last_failure() == "'train' of round 1: site-1: no answer within 1 s"
    assert ledger.last_failure(beside={"site-1"}) == ""
    with pytest.raises(WorkloadFailed, match="no answer within"):
        ledger.require_success()
    ledger.answered("k", "site-1")
    ledger.require_success()


def test_asking_for_models_that_no_site_has_fails_nothing():
    ledger = Ledger()
    open_task(ledger, kind=TaskKind.QUERY)
    ledger.failed("k", "site-1", "no model yet")
    ledger.require_success()


def test_a_relay_that_went_on_after_a_failure_is_a_success():
    ledger = Ledger()
    for key in ("first", "second"):
        open_task(ledger, key, broadcast=False)
        ledger.answered(key, "site-1")
    ledger.failed("first", "site-2", "busy")
    ledger.require_success()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train", TaskKind.TRAIN),
        ("sag_train", TaskKind.TRAIN),
        ("validate", TaskKind.EVALUATE),
        ("evaluate", TaskKind.EVALUATE),
        ("submit_model", TaskKind.QUERY),
        ("get_failure_info", TaskKind.QUERY),
        ("psi", TaskKind.CUSTOM),
    ],
)
def test_names_of_tasks_have_kinds(name, kind):
    assert messages.kind_of(name) is kind


def test_metrics_and_examples_are_read_from_a_result():
    dxo = DXO(DataKind.WEIGHTS, {"w": np.ones(1)})
    dxo.set_meta_prop(MetaKey.INITIAL_METRICS, {
        "auc": 0.5, "np": np.float32(2), "bad": "x", "nan": float("nan"), "by": {"class": 1},
    })  # fmt: skip
    dxo.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, 12)
    metrics, examples = messages.metrics_of(dxo.to_shareable())
    assert metrics == {"auc": 0.5, "np": 2.0, "by/class": 1.0}
    assert examples == 12


@pytest.mark.parametrize("steps", [-1, 0, float("inf"), "many", None, 1 << 60])
def test_absurd_numbers_of_examples_are_ignored(steps):
    dxo = DXO(DataKind.WEIGHTS, {"w": np.ones(1)}, {MetaKey.NUM_STEPS_CURRENT_ROUND: steps})
    assert messages.metrics_of(dxo.to_shareable()) == ({}, None)


def test_a_sites_context_leaves_with_allowed_properties_only():
    message = Shareable()
    context = messages.peer_context("site-1", "job", {"current_round": 3, "secret": "weights"})
    message.set_peer_context(context)
    messages.detach_peer(message, messages.SITE_PROPERTIES)
    assert message.get_peer_context() is None
    assert message.get_peer_props() == {"current_round": 3}


def test_identity_in_a_context_is_ours_whatever_is_claimed():
    context = messages.peer_context("site-1", "job", {"__identity_name__": "site-2"})
    assert context.get_identity_name() == "site-1"


def test_models_of_one_broadcast_over_the_same_memory_are_one():
    shared = SharedModels()
    array = np.arange(8.0)
    first = shared.share("task", Model.from_numpy({"w": array}))
    assert shared.share("task", Model.from_numpy({"w": array})) is first
    assert shared.share("another", Model.from_numpy({"w": array})) is not first
    assert shared.share("task", Model.from_numpy({"w": array.copy()})) is not first
    assert shared.share("task", Model.from_numpy({"v": array})) is not first


def test_a_released_model_holds_arrays_and_numbers_by_name():
    weights = {"a": {"w": np.ones((2, 2), np.float32)}, "n": 3, "l": [1.0, 2.0], "text": "x"}
    model = model_of(weights)
    assert list(model) == ["a/w", "n", "l"]
    assert model["l"].numpy().tolist() == [1.0, 2.0]


def test_a_model_without_arrays_cannot_be_released():
    with pytest.raises(InvalidModel, match="no arrays"):
        model_of({"text": "x"})


def test_the_first_exception_is_the_reason_and_not_its_echoes():
    errors = LastError()
    logger = logging.getLogger("test of the last error")
    logger.addHandler(errors)
    logger.error("about to fail")
    logger.error("Traceback (most recent call last):\n  File x\nValueError: no data\n")
    logger.error("aborted")
    assert errors.take() == "ValueError: no data"
    assert errors.take() == ""
    logger.error("it is aborted, Traceback (most recent call last):\n  File x\nKeyError: 1\n")
    assert errors.take() == "it is aborted, KeyError: 1"
