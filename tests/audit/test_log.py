from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from fedgate.errors import InvalidMessage, NotFound, Unavailable
from fedgate_gateway.audit import AuditLog, Checkpoint, LogDamaged, LogSigner, tree
from fedgate_gateway.audit.tables import AuditCheckpoint, AuditHead, AuditLeaf, AuditNode


def fill(log: AuditLog, count: int) -> None:
    for number in range(count):
        log.append("test.entry", {"n": number}, job=f"job-{number % 2}", actor="tester")


def test_entries_come_back_in_order_with_what_was_said(log: AuditLog):
    assert log.append("job.submitted", {"bundle": "sha256:00"}, job="j", actor="alice") == 0
    assert log.append("site.joined", {"site": "a"}) == 1
    first, second = log.entries()
    assert (first.position, first.entry.kind, first.entry.actor, first.entry.job) == (
        0, "job.submitted", "alice", "j",
    )  # fmt: skip
    assert first.entry.data == {"bundle": "sha256:00"}
    assert first.leaf_hash == tree.leaf_hash(first.entry.encode())
    assert (second.position, second.entry.job) == (1, None)


def test_entries_are_paged_and_filtered(log: AuditLog):
    fill(log, 10)
    assert [e.position for e in log.entries(4, 3)] == [4, 5, 6]
    assert [e.position for e in log.entries(job="job-1")] == [1, 3, 5, 7, 9]
    assert log.entries(kind="other") == log.entries(10) == log.entries(0, -5) == []


def test_an_entry_and_the_change_it_tells_of_commit_together(log: AuditLog, engine: Engine):
    with engine.begin() as connection:
        connection.execute(text("create table jobs (state text)"))
    with Session(engine) as session, session.begin():
        session.execute(text("insert into jobs values ('queued')"))
        log.append("job.transition", {"to": "queued"}, session=session)
    with Session(engine) as session:
        session.execute(text("insert into jobs values ('running')"))
        log.append("job.transition", {"to": "running"}, session=session)
        session.rollback()
    with engine.connect() as connection:
        assert connection.execute(text("select state from jobs")).scalars().all() == ["queued"]
    assert [e.entry.data["to"] for e in log.entries()] == ["queued"]
    assert log.append("job.transition", {"to": "failed"}) == 1  # no gap, no stale head
    log.checkpoint()
    AuditLog(engine, log._signer)


def test_an_entry_that_cannot_be_logged_changes_nothing(log: AuditLog):
    with pytest.raises(InvalidMessage):
        log.append("test", {"x": "y" * 100_000})
    assert log.size() == 0


def test_several_writers_leave_no_gap_and_no_double(
    log: AuditLog, engine: Engine, signer: LogSigner
):
    other = AuditLog(engine, signer)  # as another process would hold it
    threads = [threading.Thread(target=fill, args=(one, 25)) for one in (log, other, log, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.position for e in log.entries(0, 1000)] == list(range(100))
    log.checkpoint()
    AuditLog(engine, signer)


def test_proofs_from_the_database_verify_against_signed_roots(log: AuditLog, signer: LogSigner):
    fill(log, 11)
    old = Checkpoint.open(log.checkpoint(), signer.verifier)
    fill(log, 10)
    new = Checkpoint.open(log.checkpoint(), signer.verifier)
    assert (old.size, new.size) == (11, 21)
    assert (log.root(11), log.root()) == (old.root, new.root)
    proof = log.consistency(11, 21)
    assert tree.verify_consistency(11, 21, old.root, new.root, proof)
    for found in log.entries():
        path = log.inclusion(found.position)
        assert tree.verify_inclusion(found.leaf_hash, found.position, 21, path, new.root)


def test_proofs_of_what_is_not_there_are_refused(log: AuditLog):
    fill(log, 3)
    for call in (
        lambda: log.inclusion(3),
        lambda: log.inclusion(-1),
        lambda: log.inclusion(0, 4),
        lambda: log.consistency(2, 9),
        lambda: log.consistency(3, 2),
        lambda: log.root(4),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_checkpoint_of_the_same_size_is_the_same(log: AuditLog, engine: Engine):
    assert log.latest_checkpoint() is None
    fill(log, 2)
    assert log.checkpoint() == log.checkpoint() == log.latest_checkpoint()
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(AuditCheckpoint)) == 1


def test_a_log_without_tables_says_so(tmp_path, signer: LogSigner):
    from sqlalchemy import create_engine

    with pytest.raises(Unavailable):
        AuditLog(create_engine(f"sqlite:///{tmp_path}/empty.db"), signer)


# Attacks by somebody who can write to the database while the gateway is down.


FORGED = b'{"actor":"","at":"2026-01-01T00:00:00.000000Z","data":{},"kind":"a","v":1}'
ATTACKS = {
    "an entry changed": update(AuditLeaf).where(AuditLeaf.position == 3).values(entry=FORGED),
    "an entry and its hash changed": update(AuditLeaf)
    .where(AuditLeaf.position == 3)
    .values(entry=FORGED, leaf_hash=tree.leaf_hash(FORGED)),
    "an entry removed": delete(AuditLeaf).where(AuditLeaf.position == 3),
    "the last entry removed": delete(AuditLeaf).where(AuditLeaf.position == 10),
    "everything removed": delete(AuditLeaf),
    "the head rewound": update(AuditHead).values(size=0, compact_range=b""),
    "the head damaged": update(AuditHead).values(compact_range=bytes(96)),
    "an inner hash changed": update(AuditNode).where(AuditNode.level == 1).values(hash=bytes(32)),
    "an inner hash removed": delete(AuditNode).where(AuditNode.level == 2),
    "an entry added": insert(AuditLeaf).from_select(
        ["position", "at", "kind", "job", "entry", "leaf_hash"],
        select(
            AuditLeaf.position + 11,
            AuditLeaf.at,
            AuditLeaf.kind,
            AuditLeaf.job,
            AuditLeaf.entry,
            AuditLeaf.leaf_hash,
        ).where(AuditLeaf.position == 0),
    ),
    "a checkpoint's root changed": update(AuditCheckpoint).values(root=bytes(32)),
    "a checkpoint's note changed": update(AuditCheckpoint).values(
        note=func.replace(AuditCheckpoint.note, "11", "10")
    ),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_tampered_database_does_not_open(
    log: AuditLog, engine: Engine, signer: LogSigner, attack
):
    fill(log, 11)
    log.checkpoint()
    AuditLog(engine, signer)  # it opens before the attack
    with engine.begin() as connection:
        assert connection.execute(attack).rowcount > 0
    with pytest.raises(LogDamaged):
        AuditLog(engine, signer)


def test_a_database_whose_whole_tree_was_rebuilt_does_not_open(
    log: AuditLog, engine: Engine, signer: LogSigner
):
    fill(log, 5)
    log.checkpoint()
    with engine.begin() as connection:
        for table in (AuditLeaf, AuditNode):
            connection.execute(delete(table))
        connection.execute(update(AuditHead).values(size=0, compact_range=b""))
    for number in range(5):  # the same number of plausible entries, with proper hashes
        log.append("test.entry", {"n": number * 10})
    with pytest.raises(LogDamaged, match="not those that were signed"):
        AuditLog(engine, signer)


def test_a_checkpoint_forged_with_another_key_does_not_open(
    log: AuditLog, engine: Engine, signer: LogSigner
):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    fill(log, 5)
    forger = LogSigner(Ed25519PrivateKey.generate(), signer.origin)
    AuditLog(engine, forger).checkpoint()
    with pytest.raises(LogDamaged, match="not ours"):
        AuditLog(engine, signer)


def test_a_running_log_does_not_sign_a_rewritten_history(log: AuditLog, engine: Engine):
    fill(log, 6)
    log.checkpoint()
    with engine.begin() as connection:
        for table in (AuditLeaf, AuditNode, AuditCheckpoint):
            connection.execute(delete(table))
        connection.execute(update(AuditHead).values(size=0, compact_range=b""))
    with pytest.raises(LogDamaged, match="rewritten"):
        log.checkpoint()  # rolled back
    for number in range(8):
        log.append("test.entry", {"n": -number})
    with pytest.raises(LogDamaged, match="rewritten"):
        log.checkpoint()  # forked
