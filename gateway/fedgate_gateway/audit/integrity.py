"""Whether a database still holds the log that was signed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, select

from fedgate.errors import FedgateError, InvalidMessage
from fedgate_gateway.audit import tree
from fedgate_gateway.audit.note import Checkpoint, VerifierKey
from fedgate_gateway.audit.tables import AuditCheckpoint, AuditHead, AuditLeaf, AuditNode

#: Leaves read at once, so that checking needs the same memory whatever the size.
_PAGE = 4096


class LogDamaged(FedgateError):
    """The stored log is not the one that was signed."""

    code, exit_code, status = "log-damaged", 76, 500


def check_database(connection: Connection, key: VerifierKey) -> Checkpoint:
    """Recompute the tree from the stored entries and compare it with everything that was signed.

    Returns the last checkpoint (or that of the empty log). One pass, in constant memory.
    Raises :class:`LogDamaged`.
    """
    checkpoints = _checkpoints(connection, key)
    last = checkpoints[-1] if checkpoints else Checkpoint(key.name, 0, tree.EMPTY_ROOT)
    awaited = {checkpoint.size: checkpoint.root for checkpoint in checkpoints}
    head = tree.CompactRange()
    _compare_root(awaited, head)
    while page := _page(connection, head.size):
        completed: list[tree.Node] = []
        for position, entry, leaf in page:
            if position != head.size:
                raise _damaged(f"entry {head.size} is missing")
            if tree.leaf_hash(entry) != leaf:
                raise _damaged(f"entry {position} was changed")
            completed += head.append(leaf)
            _compare_root(awaited, head)
        _compare_nodes(connection, completed)
    if awaited:
        raise _damaged(f"{last.size} entries were signed, {head.size} are left")
    stored = connection.execute(select(AuditHead.size, AuditHead.compact_range)).one()
    if (stored.size, stored.compact_range) != (head.size, head.to_bytes()):
        raise _damaged(f"the head row tells of {stored.size} entries, there are {head.size}")
    return last


def nodes_of(connection: Connection) -> tree.Nodes:
    """Look-ups of stored subtree hashes."""

    def look_up(level: int, index: int) -> bytes:
        leaf = select(AuditLeaf.leaf_hash).where(AuditLeaf.position == index)
        node = select(AuditNode.hash).where(AuditNode.level == level, AuditNode.index == index)
        found = connection.scalar(node if level else leaf)
        if found is None:
            raise _damaged(f"the hash ({level}, {index}) is missing")
        return found

    return look_up


def _checkpoints(connection: Connection, key: VerifierKey) -> list[Checkpoint]:
    rows = connection.execute(
        select(AuditCheckpoint.size, AuditCheckpoint.root, AuditCheckpoint.note).order_by(
            AuditCheckpoint.size
        )
    ).all()
    opened = []
    for size, root, note in rows:
        try:
            checkpoint = Checkpoint.open(note, key)
        except InvalidMessage as error:
            raise _damaged(f"the checkpoint of size {size} is not ours: {error}") from error
        if (checkpoint.size, checkpoint.root) != (size, root):
            raise _damaged(f"the checkpoint of size {size} was changed")
        opened.append(checkpoint)
    return opened


def _page(connection: Connection, start: int) -> Sequence[Row[int, bytes, bytes]]:
    columns = select(AuditLeaf.position, AuditLeaf.entry, AuditLeaf.leaf_hash)
    page = columns.where(AuditLeaf.position >= start).order_by(AuditLeaf.position)
    return connection.execute(page.limit(_PAGE)).all()


def _compare_nodes(connection: Connection, computed: Sequence[tree.Node]) -> None:
    for level in {node.level for node in computed}:
        wanted = {node.index: node.hash for node in computed if node.level == level}
        stored = connection.execute(
            select(AuditNode.index, AuditNode.hash).where(
                AuditNode.level == level, AuditNode.index.between(min(wanted), max(wanted))
            )
        )
        if sorted(tuple(row) for row in stored) != sorted(wanted.items()):
            raise _damaged(f"inner hashes of level {level} were changed")


def _compare_root(awaited: dict[int, bytes], head: tree.CompactRange) -> None:
    signed = awaited.pop(head.size, None)
    if signed is not None and signed != head.root():
        raise _damaged(f"the first {head.size} entries are not those that were signed")


def _damaged(why: str) -> LogDamaged:
    return LogDamaged(
        "the audit log in the database is not the one that was signed",
        why=why,
        remedy="restore the database, or verify an exported log to see since when",
    )
