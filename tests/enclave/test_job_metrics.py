"""Numbers of rounds: everybody sees those under declared names, the submitter sees all."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from fedgate.task import Round, TaskKind
from fedgate_gateway.config import Release
from fedgate_gateway.enclave.job_metrics import JobMetrics
from fedgate_gateway.enclave.reports import Reports
from fedgate_proto.v1 import link_pb2 as pb

SECRET = "Patient 7"
NUMBERS = {"loss": 0.5, SECRET: 7.25, "accuracy": math.nan}


def told(**rules: Any) -> tuple[list[pb.PeerMessage], JobMetrics]:
    sent: list[pb.PeerMessage] = []
    metrics = JobMetrics(Release(**rules))
    reports = Reports(
        "job-1", ["a"], sent.append,
        metrics=metrics, logs=False, log_bytes=0, on_unwritable=pytest.fail,
    )  # fmt: skip
    counts = dict.fromkeys(NUMBERS, 1)
    reports.round(Round(1, TaskKind.TRAIN, ("a",), metrics=NUMBERS, metric_sites=counts))
    reports.metrics(1, NUMBERS)
    return sent, metrics


def test_declared_names_alone_are_told_and_the_others_counted() -> None:
    sent, _ = told(metrics="clear", metric_names=("loss", "accuracy"))
    event, entry, published = [json.loads(m.report.event or m.audit.data) for m in sent]
    for data in (event, entry, published):
        assert (data["metrics"], data["metrics_left_out"]) == ({"loss": 0.5, "accuracy": None}, 1)


@pytest.mark.parametrize("rules", [{}, {"metrics": "clear"}, {"metrics": "never"},
                                   {"metrics": "sealed", "metric_names": ("loss",)}])  # fmt: skip
def test_nothing_is_told_that_is_not_declared_to_be(rules: dict[str, Any]) -> None:
    sent, metrics = told(**rules)
    assert len(sent) == 2
    assert not any(b"0.5" in m.SerializeToString() for m in sent)
    assert b"Patient 7" in metrics.lines()


@pytest.mark.parametrize(
    ("counts", "sites", "values"),
    [
        ({"loss": 2, "accuracy": 1}, 2, [0.5, 0.5]),
        ({"loss": 1, "accuracy": 1}, 2, [0.5]),
        ({"loss": 2, "accuracy": 2}, 1, [0.5]),
        ({}, None, [0.5]),  # published before any site has answered
    ],
)
def test_a_number_of_fewer_sites_than_the_project_asks_for_is_nobodys_to_see(
    counts: dict[str, int], sites: int | None, values: list[float]
) -> None:
    sent: list[pb.PeerMessage] = []
    names = ("loss", "accuracy")
    rules = Release(metrics="clear", metric_names=names, minimum_cohort=2)
    metrics = JobMetrics(rules)
    reports = Reports(
        "job-1", ["a", "b"], sent.append,
        metrics=metrics, logs=False, log_bytes=0, on_unwritable=pytest.fail,
    )  # fmt: skip
    reports.round(
        Round(1, TaskKind.TRAIN, ("a", "b"), metrics={"loss": 0.5, "accuracy": 0.25},
              metric_sites=counts)
    )  # fmt: skip
    reports.metrics(1, {"loss": 0.5}, sites=sites)
    told = [json.loads(m.report.event)["metrics"] for m in sent if m.report.event]
    assert [t["loss"] for t in told if "loss" in t] == values
    lines = [json.loads(line)["metrics"] for line in metrics.lines().splitlines()]
    assert [t["loss"] for t in lines if "loss" in t] == values
    assert ("accuracy" in told[0]) == (counts.get("accuracy", 0) >= 2)


def test_the_submitter_gets_all_of_them_as_lines() -> None:
    _, metrics = told()
    lines = [json.loads(line) for line in metrics.lines().splitlines()]
    numbers = {"loss": 0.5, SECRET: 7.25, "accuracy": None}
    assert lines == [
        {"round": 1, "of": "train", "metrics": numbers},
        {"round": 1, "of": "published", "metrics": numbers},
    ]


def test_what_is_kept_is_bounded_and_says_so() -> None:
    metrics = JobMetrics(Release())
    for number in range(10):
        metrics.keep(number, "train", {"x" * (1 << 20): 1.0})
    assert len(metrics.lines()) < (8 << 20) + 100
    assert json.loads(metrics.lines().splitlines()[-1])["left_out"] == 3


@pytest.mark.parametrize("names", [(SECRET,), ("",), ("x" * 65,), ("a\n",), ("a",) * 65])
def test_a_project_declares_few_plain_names(names: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        Release(metrics="clear", metric_names=names)
