"""What an operator reads: what was committed, by names and codes, and nothing that a user wrote."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fedgate.codes import Code
from fedgate.notice import Notice
from fedgate_gateway.audit import AuditLog
from fedgate_gateway.link.report import Entry
from fedgate_gateway.pki import PeerKind

PATIENT = "Jane Doe, born 1970"


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> list[dict]:
    caplog.set_level(logging.DEBUG, "fedgate.operator")

    class Told(list):
        def __iter__(self):
            return iter([r.fields for r in caplog.records if r.name == "fedgate.operator"])

    return Told()


def test_each_entry_is_a_line_with_its_ids(log: AuditLog, told, caplog):
    log.append("job.submitted", {"project": "demo", "bundle": "sha256:00"}, job="j1", actor="alice")
    log.append("peer.revoked", {"kind": "site", "name": "site-1"}, actor="admin")
    log.append("token.created", {"id": "tok-1", "name": PATIENT, "scopes": ["admin"]})
    assert list(told) == [
        {"kind": "job.submitted", "job": "j1", "actor": "alice", "project": "demo",
         "bundle": "sha256:00"},
        {"kind": "peer.revoked", "actor": "admin", "peer": "site site-1"},
        {"kind": "token.created", "id": "tok-1"},
    ]  # fmt: skip
    assert "peer.revoked actor=admin peer='site site-1'" in caplog.text


def test_no_line_holds_what_a_user_wrote(log: AuditLog, told, caplog):
    log.append(
        "job.transition", {"state": "failed", "reason": PATIENT, "name": PATIENT, "site": PATIENT,
                           "metrics": {PATIENT: 1.0}}, job="j1")  # fmt: skip
    assert PATIENT not in caplog.text
    assert PATIENT not in str(list(told))
    assert list(told) == [{"kind": "job.transition", "job": "j1", "state": "failed"}]


def test_what_was_rolled_back_never_happened(log: AuditLog, engine: Engine, told):
    with Session(engine) as session:
        log.append("job.transition", {"state": "queued"}, job="j1", session=session)
        assert not list(told)
        session.rollback()
        log.append("job.transition", {"state": "running"}, job="j1", session=session)
        session.commit()
    assert [line["state"] for line in told] == ["running"]


def test_rounds_are_for_those_who_look_for_them(log: AuditLog, caplog, told):
    caplog.set_level(logging.INFO, "fedgate.operator")
    log.append("round.finished", {"round": 1}, job="j1")
    assert not list(told)


def test_a_peer_tells_its_own_operator_the_same(told):
    notice = Notice(Code.WORKER_DIED)
    entry = Entry(PeerKind.SITE, "site.refused", ("site-1",), notice)
    entry.tell_operator("j1")
    assert list(told) == [{"kind": "site.refused", "job": "j1", "code": "worker-died"}]
