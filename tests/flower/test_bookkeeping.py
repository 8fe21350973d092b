"""The small parts: who failed, how long to wait, which numbers nodes have, what is watched."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from fedgate.adapter import Adapter, Grade
from fedgate.errors import DeadlineExceeded, InvalidConfig, WorkloadFailed
from fedgate.task import TaskKind
from fedgate_flower import identity
from fedgate_flower._flwr_private import in_order
from fedgate_flower.adapter import FlowerAdapter
from fedgate_flower.ledger import Failed, Ledger
from fedgate_flower.outcome import Outcome
from fedgate_flower.project import FlowerProject
from fedgate_flower.state import StateFile
from fedgate_flower.waiting import NODE_WAIT, NodeWait, node_wait_seconds
from fedgate_flower.watching import watch

TRAIN, EVALUATE, QUERY = TaskKind.TRAIN, TaskKind.EVALUATE, TaskKind.QUERY


# -- ledger ----


def ledger(*entries: tuple[TaskKind, int, str, str | None]) -> Ledger:
    book = Ledger()
    for kind, number, site, reason in entries:
        book.record(kind, number, site, None if reason is None else Failed(reason))
    return book


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [(TRAIN, 1, "a", None), (TRAIN, 1, "b", "x")],
        [(TRAIN, 1, "a", "x"), (TRAIN, 2, "a", None)],
        [(TRAIN, 1, "a", None), (EVALUATE, 1, "a", "no evaluate function")],
        [(QUERY, 0, "a", "x"), (QUERY, 0, "b", None)],
    ],
    ids=["nothing", "one answer", "recovered", "no evaluation", "one query"],
)
def test_a_job_that_somebody_answered_is_no_total_failure(entries: list[Any]) -> None:
    assert ledger(*entries).total_failure() is None


@pytest.mark.parametrize(
    "entries",
    [
        [(TRAIN, 1, "a", "boom"), (TRAIN, 1, "b", "boom")],
        [(TRAIN, 1, "a", None), (TRAIN, 2, "a", "boom"), (TRAIN, 2, "b", "boom")],
        [(TRAIN, 1, "a", "boom"), (EVALUATE, 1, "a", None)],
        [(QUERY, 0, "a", "boom")],
    ],
    ids=["all", "last round", "evaluation alone", "query"],
)
def test_a_last_round_that_nobody_answered_is_a_failed_job(entries: list[Any]) -> None:
    error = ledger(*entries).total_failure()
    assert isinstance(error, WorkloadFailed)
    assert "boom" in error.why


def test_what_a_site_said_stands_in_the_log_and_not_in_the_reason_that_a_gateway_reads(
    capsys: pytest.CaptureFixture[str],
) -> None:
    book, said = Ledger(), "<class 'a.b.BadRow'>:<'patient 4711'>"
    book.record(TRAIN, 2, "ward", Failed("the ClientApp raised BadRow", said))
    error = book.total_failure()
    assert error is not None
    assert error.why == "ward: the ClientApp raised BadRow"
    assert "4711" not in str(error)
    assert capsys.readouterr().out == "no answer in round 2 from ward: BadRow: patient 4711\n"


# -- waiting ----


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_only_steady_asking_for_nodes_counts_as_waiting() -> None:
    clock, errors = Clock(), []
    wait = NodeWait(30, errors.append, clock)
    wait.watch_this_thread()
    for _ in range(20):  # an app that computes for minutes between two looks
        wait.polled(1)
        clock.now += 200
    for _ in range(10):
        wait.polled(1)
        clock.now += 1
    wait.progressed()
    for _ in range(31):
        wait.polled(1)
        clock.now += 1
    with pytest.raises(DeadlineExceeded, match="30 s"):
        wait.polled(1)
    assert isinstance(errors[0], DeadlineExceeded)


def test_asking_from_another_thread_is_not_the_app_waiting() -> None:
    clock = Clock()
    wait = NodeWait(1, lambda error: None, clock)
    wait.watch_this_thread()

    def poll() -> None:
        for _ in range(100):
            wait.polled(0)
            clock.now += 1

    raised: list[BaseException] = []
    thread = threading.Thread(target=lambda: raised.extend(_caught(poll)))
    thread.start()
    thread.join()
    assert raised == []


def _caught(call: Any) -> list[BaseException]:
    try:
        call()
    except BaseException as error:
        return [error]
    return []


@pytest.mark.parametrize("value", ["soon", 0, -1, True, float("nan"), float("inf")])
def test_a_senseless_limit_is_refused(value: Any) -> None:
    with pytest.raises(InvalidConfig):
        node_wait_seconds({NODE_WAIT: value})


# -- numbers and names ----


def test_node_ids_are_stable_distinct_and_far_from_flowers_own() -> None:
    sites = [f"site-{i}" for i in range(200)]
    ids = identity.node_ids("job-1", sites)
    assert ids == identity.node_ids("job-1", sites)
    assert list(ids) == sites
    assert len(set(ids.values())) == 200
    assert all(1 << 32 <= n < 1 << 63 for n in ids.values())
    assert set(ids.values()).isdisjoint(identity.node_ids("job-2", sites).values())
    assert identity.run_id("job-1") not in ids.values()


def test_a_series_has_a_number_and_jobs_without_one_are_alone() -> None:
    assert identity.series_id("study", "job-1") == identity.series_id("study", "job-2")
    alone = {identity.series_id("", "job-1"), identity.series_id("", "job-2")}
    assert len(alone | {identity.series_id("study", "job-1"), identity.run_id("job-1")}) == 4
    assert identity.series_id("2026", "job-1") == 2026
    assert identity.series_id("9" * 63, "job-1") == identity.series_id("9" * 63, "job-2")
    assert 0 < identity.series_id("9" * 63, "job-1") < 2**63


def test_overrides_must_be_settings_that_the_app_knows() -> None:
    project = FlowerProject("p", "n", "1", "s:a", "c:a", {"rounds": 3, "lr": 0.1}, ())
    assert project.run_config({"lr": 1}) == {"rounds": 3, "lr": 1}
    with pytest.raises(InvalidConfig, match="'epochs'") as refused:
        project.run_config({"epochs": 1})
    assert "lr, rounds" in refused.value.why


def test_the_adapter_keeps_the_contract() -> None:
    adapter = FlowerAdapter()
    assert isinstance(adapter, Adapter)
    assert adapter.framework == "flower"
    for capability in adapter.capabilities.values():
        assert capability.grade is Grade.UNSUPPORTED or capability.since
        assert capability.grade is Grade.FULL or capability.note  # say what is missing


# -- watching classes ----


def watched_base() -> tuple[type[Any], list[str]]:
    class Base:
        def result(self, value: str) -> str:
            return value

    seen: list[str] = []

    def around(call: Any, self: Any, args: Any, kwargs: Any) -> str:
        result: str = call(self, *args, **kwargs)
        seen.append(result)
        return result

    class Early(Base):
        def result(self, value: str) -> str:
            return "early " + super().result(value)

    Base.early = Early  # type: ignore[attr-defined]
    watch(Base, {"result": around})
    return Base, seen


def test_subclasses_before_and_after_are_watched_and_only_their_outermost_result_counts() -> None:
    base, seen = watched_base()

    class Late(base.early):  # type: ignore[name-defined]
        def result(self, value: str) -> str:
            return "late " + super().result(value=value)

    assert base.early().result("x") == "early x"
    assert Late().result("y") == "late early y"
    assert seen == ["early x", "late early y"]


def test_what_a_wrapper_adds_is_seen_and_what_it_wraps_is_not() -> None:
    """As with differential privacy: the noisy model may leave, the clean one inside may not."""
    base, seen = watched_base()

    class Noisy(base):  # type: ignore[misc,valid-type]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def result(self, value: str) -> str:
            return self.inner.result(value) + " + noise"

    assert Noisy(base()).result("clean") == "clean + noise"
    assert seen == ["clean + noise"]


def test_a_decorated_copy_of_a_watched_method_is_watched_anew() -> None:
    base, seen = watched_base()

    def shouting(method: Any) -> Any:
        @functools.wraps(method)
        def louder(self: Any, value: str) -> str:
            return str(method(self, value)).upper()

        return louder

    class Loud(base):  # type: ignore[misc,valid-type]
        result = shouting(base.result)

    assert Loud().result("x") == "X"
    assert seen == ["X"]


# -- outcome ----


def record(*values: float) -> ArrayRecord:
    return ArrayRecord({"w": Array(np.array(values))})


def test_the_last_aggregate_is_the_jobs_model_even_if_the_app_empties_its_record(
    memory_federation: Any,
) -> None:
    federation = memory_federation({})
    outcome = Outcome(federation)
    outcome.sent(1, RecordDict({"arrays": record(0)}))
    outcome.aggregated(1, record(1))
    last = record(2)
    outcome.aggregated(2, last)
    outcome.sent(2, RecordDict({"arrays": record(9)}))
    last.to_numpy_ndarrays(keep_input=False)
    outcome.publish()
    ((model, number, _),) = federation.published
    assert number == 2
    assert {k: t.numpy().tolist() for k, t in model.items()} == {"w": [2.0]}
    assert model.metadata["source"] == "aggregate"


def test_without_a_strategy_the_model_that_was_sent_last_is_offered_and_says_so(
    memory_federation: Any,
) -> None:
    federation = memory_federation({})
    outcome = Outcome(federation)
    outcome.sent(0, RecordDict({"a": record(1), "b": record(2), "c": ConfigRecord({"x": 1})}))
    outcome.publish()
    ((model, _, _),) = federation.published
    assert sorted(model) == ["a/w", "b/w"]
    assert model.metadata["source"] == "sent"


def test_an_app_without_models_publishes_none(memory_federation: Any) -> None:
    federation = memory_federation({})
    Outcome(federation).publish()
    assert federation.published == []


def test_metrics_of_one_round_are_told_apart(memory_federation: Any) -> None:
    federation = memory_federation({})
    outcome = Outcome(federation)
    outcome.measured(1, "train", MetricRecord({"loss": 2.0, "per-layer": [1.0]}))
    outcome.measured(1, "evaluate", MetricRecord({"loss": 1.0, "bad": float("nan")}))
    outcome.measured(1, "server", None)
    assert federation.published == [
        (None, 1, {"loss": 2.0, "per-layer.0": 1.0}),
        (None, 1, {"evaluate.loss": 1.0}),  # what was told of training is not told again
    ]


# -- state ----


def test_state_survives_and_is_replaced_as_a_whole(tmp_path: Path) -> None:
    assert dict(StateFile(tmp_path).load()) == {}
    state = RecordDict({"net": record(1, 2), "seen": ConfigRecord({"rounds": 1})})
    StateFile(tmp_path).save(state)
    again = StateFile(tmp_path)
    loaded = again.load()
    assert loaded["net"]["w"].numpy().tolist() == [1, 2]
    loaded["seen"]["rounds"] = 2
    again.save(loaded)
    assert StateFile(tmp_path).load()["seen"]["rounds"] == 2
    again.save(RecordDict())
    assert dict(StateFile(tmp_path).load()) == {}


def test_state_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    file, state = StateFile(tmp_path), RecordDict({"net": record(1)})
    file.save(state)
    (saved,) = tmp_path.iterdir()
    saved.write_bytes(b"marker")
    file.save(state)
    assert saved.read_bytes() == b"marker"
    state["net"]["w"] = Array(np.array([2.0]))
    file.save(state)
    assert saved.read_bytes() != b"marker"


def test_an_app_without_state_leaves_no_file(tmp_path: Path) -> None:
    StateFile(tmp_path).save(RecordDict())
    assert list(tmp_path.iterdir()) == []


def test_damaged_state_is_refused_and_not_half_read(tmp_path: Path) -> None:
    StateFile(tmp_path).save(RecordDict({"net": record(1, 2, 3), "c": ConfigRecord({"a": 1})}))
    (saved,) = tmp_path.iterdir()
    whole = saved.read_bytes()
    for end in range(len(whole)):
        saved.write_bytes(whole[:end])
        with pytest.raises(WorkloadFailed, match="damaged"):
            StateFile(tmp_path).load()
    saved.write_bytes(whole + b"x")
    with pytest.raises(WorkloadFailed, match="damaged"):
        StateFile(tmp_path).load()


# -- legacy strategies ----


class Client:
    def __init__(self, cid: str) -> None:
        self.cid = cid


def test_legacy_results_reach_the_strategy_in_the_order_they_were_asked_for() -> None:
    """Its server collects them from a set of futures, in whatever order that has."""
    asked = [(Client(c), None) for c in ("9", "3", "7")]
    failures = [ValueError("one of them")]

    def fit_clients(client_instructions: Any, max_workers: Any, timeout: Any) -> Any:
        assert (max_workers, timeout) == (2, None)
        return [(client_instructions[i][0], None) for i in (2, 0)], failures

    results, failed = in_order(fit_clients)(asked, max_workers=2, timeout=None)
    assert [client.cid for client, _ in results] == ["9", "7"]
    assert failed is failures


def test_what_a_legacy_strategy_aggregates_is_seen(memory_federation: Any) -> None:
    from flwr.common import ndarrays_to_parameters

    from fedgate_flower.strategies import _Legacy

    federation = memory_federation({})
    outcome = Outcome(federation)

    def aggregate_fit(self: Any, server_round: int, results: Any, failures: Any) -> Any:
        return ndarrays_to_parameters([np.ones(2)]), {"acc": 0.5}

    _Legacy(outcome).aggregate_fit(aggregate_fit, object(), (1, [], []), {})
    outcome.publish()
    model, number, metrics = federation.published[-1]
    assert (number, metrics, list(model)) == (1, {"acc": 0.5}, ["0"])


def test_a_strategy_with_ways_of_its_own_is_not_disturbed(memory_federation: Any) -> None:
    from fedgate_flower.strategies import _Modern

    federation = memory_federation({})
    modern = _Modern(Outcome(federation))
    odd = ("arrays", "metrics", "and more")
    assert modern.aggregate_train(lambda self, *a: odd, object(), (1, []), {}) is odd
    assert modern.aggregate_evaluate(lambda self, *a: 0.5, object(), (1, []), {}) == 0.5
    assert federation.published == []


# -- endings ----


def test_an_app_that_never_returns_cannot_keep_a_cancelled_job() -> None:
    from fedgate_flower.coordinator import _Ending

    forever = threading.Event()
    _Ending().run(lambda: bool(forever.wait(30)) and None, lambda: True)
    ending = _Ending()
    first = DeadlineExceeded("first")

    def body() -> None:
        ending.fail(first)
        forever.wait(30)

    ending.run(body, lambda: False)
    ending.fail(DeadlineExceeded("second"))
    assert ending.error is first
    forever.set()
