"""What peers may write down: codes, counts and known names; a text is refused everywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import InvalidMessage
from fedgate.notice import Notice
from fedgate_gateway.link import facts
from fedgate_gateway.pki import PeerKind

SITES = {"site-1", "site-2"}
ROUND = {
    "round": 1, "task": "train", "sites": ["site-1"], "failed": {"site-2": "workload"},
    "metrics": {"loss": 0.5, "worst": None}, "sent_bytes": 1, "received_bytes": 2,
    "seconds": "0.250000",
}  # fmt: skip
SECRET = "Patient: 7"


def enclave(kind: str, **data: Any) -> dict[str, Any]:
    return facts.entry(PeerKind.ENCLAVE, kind, json.dumps(data), SITES)


def test_a_round_passes_as_it_is() -> None:
    assert enclave("round.finished", **ROUND) == ROUND


def test_a_reason_is_told_in_the_gateways_words() -> None:
    notice = Notice(Code.ALTERED)
    told = enclave("session.ended", site="site-1", notice=notice.to_text())
    assert told == {"site": "site-1", "code": "altered", "why": notice.sentence}
    kind, event = facts.event(
        json.dumps({"kind": "site-state", "site": "site-1", "state": "lost",
                    "notice": notice.to_text()}), SITES,
    )  # fmt: skip
    assert (kind, event["reason"], event["code"]) == ("site-state", notice.sentence, "altered")


@pytest.mark.parametrize("peer", list(PeerKind))
def test_no_field_of_any_kind_takes_a_text_nor_a_site_outside_the_job(peer: PeerKind) -> None:
    for kind, fields in facts.ENTRIES[peer].items():
        for name in (*fields, "why", "reason", "notice", SECRET):
            values = [SECRET, [SECRET], {SECRET: 1}, {"site-1": SECRET}, {"loss": SECRET}, -1,
                      2**60, True, None, 1.5]  # fmt: skip
            if name in ("site", "sites", "cohort", "failed"):
                values += ["site-3", ["site-3"], {"site-3": "workload"}]
            for value in values:
                with pytest.raises(InvalidMessage) as refused:
                    facts.entry(peer, kind, json.dumps({name: value}), SITES)
                assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "metrics",
    [
        {SECRET: 1.0}, {"": 1.0}, {"1st": 1.0}, {"x" * 65: 1.0}, {"loss": "1"}, {"loss": True},
        {f"m{i}": 1.0 for i in range(65)},
    ],
)  # fmt: skip
def test_metrics_are_bounded_in_names_and_number(metrics: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        enclave("round.finished", **{**ROUND, "metrics": metrics})


@pytest.mark.parametrize(
    "text",
    ["", "[]", "1", "{", '{"kind": 1}', '{"kind": "state", "state": "failed"}', "[" * 100_000,
     '{"kind": "metrics", "metrics": {"loss": NaN}}',
     '{"kind": "site-state", "site": "site-1", "state": "Patient 7"}',
     '{"kind": "log", "text": "' + "x" * 300_000 + '"}'],
)  # fmt: skip
def test_other_events_are_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        facts.event(text, SITES)


def test_a_site_cannot_write_what_an_enclave_may() -> None:
    with pytest.raises(InvalidMessage):
        facts.entry(PeerKind.SITE, "round.finished", json.dumps(ROUND), SITES)
