"""What a peer can tell the gateway at all: by the schema of the log, or not at its source."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedgate.codes import Code
from fedgate.errors import InvalidMessage
from fedgate.notice import Notice
from fedgate.task import Frame, Round, TaskKind
from fedgate_gateway.config import Release
from fedgate_gateway.enclave.job_metrics import JobMetrics
from fedgate_gateway.enclave.reports import Reports
from fedgate_gateway.link import facts
from fedgate_gateway.link.report import Entry, Event
from fedgate_gateway.link.traffic import Traffic, told_as
from fedgate_gateway.pki import PeerKind
from fedgate_proto.v1 import link_pb2 as pb

SITES = ("site-1", "site-2")
SECRET = "Patient: 7"


@pytest.mark.parametrize("peer", list(PeerKind))
def test_no_entry_can_be_made_with_a_text_in_it(peer: PeerKind) -> None:
    for kind, fields in facts.ENTRIES[peer].items():
        for name in (*fields, "why", "notice", SECRET):
            for value in (SECRET, [SECRET], {SECRET: 1}, {"site-1": SECRET}):
                with pytest.raises(InvalidMessage) as refused:
                    Entry(peer, kind, SITES, None, **{name: value})
                assert SECRET not in str(refused.value)


def test_no_event_can_be_made_with_a_text_in_it() -> None:
    for kind, fields in facts.EVENTS.items():
        for name in {*fields, "why", "reason", "kind", SECRET} - {"text"}:
            with pytest.raises(InvalidMessage):
                Event(kind, SITES, None, **{name: SECRET})


@pytest.mark.parametrize("make", [
    lambda: Entry(PeerKind.ENCLAVE, SECRET, SITES),
    lambda: Entry(PeerKind.SITE, "round.finished", SITES, round=1),
    lambda: Entry(PeerKind.ENCLAVE, "released", SITES, Notice(Code.ALTERED)),
    lambda: Entry(PeerKind.ENCLAVE, "session.ended", SITES, site="site-3"),
    lambda: Entry(PeerKind.ENCLAVE, "round.finished", SITES, metrics={"loss": float("nan")}),
    lambda: Entry(PeerKind.ENCLAVE, "round.finished", SITES, sites=["site-1"] * 5000),
    lambda: Event("log", SITES, text="x" * 300_000),
])  # fmt: skip
def test_what_the_gateway_would_refuse_is_refused_at_its_source(
    make: Callable[[], object],
) -> None:
    with pytest.raises(InvalidMessage):
        make()


def test_what_cannot_be_written_down_stops_the_job_and_does_not_go_out() -> None:
    sent: list[pb.PeerMessage] = []
    unwritable: list[InvalidMessage] = []
    reports = Reports(
        "job-1", SITES, sent.append,
        metrics=JobMetrics(Release()), logs=False, log_bytes=0, on_unwritable=unwritable.append,
    )  # fmt: skip
    reports.round(Round(2**60, TaskKind.TRAIN, SITES))
    assert len(unwritable) == 2  # the event and the entry
    with pytest.raises(InvalidMessage):
        reports.released(round=2**60)
    assert sent == []


def test_the_largest_round_of_a_federation_can_be_written_down() -> None:
    many = tuple(f"{'x' * 50}-{number}" for number in range(256))
    sent: list[pb.PeerMessage] = []
    rules = Release(metrics="clear", metric_names=tuple(f"m{i}".ljust(64, "x") for i in range(64)))
    metrics = dict.fromkeys(rules.metric_names, 1 / 3)
    reports = Reports(
        "job-1", many, sent.append,
        metrics=JobMetrics(rules), logs=False, log_bytes=0, on_unwritable=pytest.fail,
    )  # fmt: skip
    reports.round(Round(1, TaskKind.TRAIN, many, answered=many, metrics=metrics))
    assert [m.WhichOneof("body") for m in sent] == ["report", "audit", "audit"]


def test_a_frame_is_named_as_it_was_declared_in_the_characters_of_names() -> None:
    assert told_as("aux:status", ["aux:*"]) == "aux:*"
    for declared in ([], ["other:*"], [f"aux:{SECRET}"]):
        assert told_as(f"aux:{SECRET}", declared) == "undeclared"
    traffic = Traffic()
    traffic.count("site-1", Frame("aux", SECRET, b"x"), "out")
    (row,) = traffic.rows([f"aux:{SECRET}"])
    assert Entry(PeerKind.ENCLAVE, "frames.passed", SITES, None, **row).text.count("undeclared")


def test_rules_of_an_owner_are_told_by_their_names_or_as_unnamed() -> None:
    told = facts.told_rules(["owners may", "Käthe's", *["x"] * 20])
    assert told == ["owners may", "unnamed", *["x"] * 14]
    assert Entry(PeerKind.SITE, "enclave.appraised", (), None, rules=told)
