"""The audit log: append only, in the gateway's database, with signed checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, event, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from fedgate.errors import FedgateError, NotFound, Unavailable
from fedgate_gateway import operator_log
from fedgate_gateway.audit import tree
from fedgate_gateway.audit.entry import Entry
from fedgate_gateway.audit.integrity import LogDamaged, check_database, nodes_of
from fedgate_gateway.audit.note import Checkpoint, VerifierKey
from fedgate_gateway.audit.signer import LogSigner
from fedgate_gateway.audit.tables import AuditCheckpoint, AuditHead, AuditLeaf, AuditNode

MAX_PAGE = 1000


@dataclass(frozen=True)
class LoggedEntry:
    position: int
    entry: Entry
    leaf_hash: bytes


class AuditLog:
    """Appends entries, signs checkpoints, and proves what it holds. Thread-safe.

    Its tables must exist. Opening recomputes the whole tree from the stored entries and raises
    :class:`LogDamaged` when they are not what the last checkpoint signed.
    """

    def __init__(
        self,
        engine: Engine,
        signer: LogSigner,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine = engine
        self._signer = signer
        self._clock = clock
        self._lock = threading.Lock()
        self._ensure_head()
        with self._reading() as connection:
            #: What this process last saw signed; a later head must extend it.
            self._signed = check_database(connection, signer.verifier)

    @property
    def verifier(self) -> VerifierKey:
        return self._signer.verifier

    def append(
        self,
        kind: str,
        data: Mapping[str, Any],
        *,
        job: str | None = None,
        actor: str = "",
        session: Session | Connection | None = None,
    ) -> int:
        """Add an entry and return its position.

        With a ``session`` the entry is part of its transaction: both commit, or neither does, and
        other appenders wait until then, so keep that transaction short. On SQLite begin it with
        BEGIN IMMEDIATE if it reads before it appends. Raises :class:`InvalidMessage` when the
        entry is too large or is no JSON.
        """
        return self.append_all([Entry(self._clock(), kind, actor, data, job)], session=session)[0]

    def append_all(
        self, entries: Sequence[Entry], *, session: Session | Connection | None = None
    ) -> range:
        """Add entries in one transaction (one disk flush) and return their positions."""
        encoded = [entry.encode() for entry in entries]
        if session is not None:
            positions = self._append(_connection(session), entries, encoded)
            if isinstance(session, Session):
                _tell_once_committed(session, list(entries))
            return positions
        with self._lock, self._writing() as connection:
            positions = self._append(connection, entries, encoded)
        _tell(entries)
        return positions

    def size(self) -> int:
        with self._reading() as connection:
            return self._head(connection).size

    def checkpoint(self) -> str:
        """Sign the log as it stands; returns the signed note.

        Only what is committed is signed. Do not call it inside a transaction that has appended.
        Raises :class:`LogDamaged` instead of signing a history that does not extend the one this
        process has seen.
        """
        with self._lock:
            with self._reading() as connection:
                head = self._head(connection)
                stored = connection.scalar(
                    select(AuditCheckpoint.note).where(AuditCheckpoint.size == head.size)
                )
                root = head.root()
                self._check_extends(connection, head.size, root)
            note = self._signer.sign(head.size, root)
            if stored is None:
                try:
                    with self._writing() as connection:
                        connection.execute(
                            insert(AuditCheckpoint).values(
                                size=head.size, root=root, note=note, at=self._clock()
                            )
                        )
                except IntegrityError:
                    pass  # another process signed this very size just now
            self._signed = Checkpoint(self._signer.origin, head.size, root)
            return note

    def latest_checkpoint(self) -> str | None:
        """The last signed note, or None when nothing was signed yet."""
        newest = select(AuditCheckpoint.note).order_by(AuditCheckpoint.size.desc()).limit(1)
        with self._reading() as connection:
            return connection.scalar(newest)

    def entries(
        self, start: int = 0, limit: int = 100, *, job: str | None = None, kind: str | None = None
    ) -> list[LoggedEntry]:
        """Up to ``limit`` (at most 1000) entries from position ``start`` on, oldest first."""
        query = select(AuditLeaf.position, AuditLeaf.entry, AuditLeaf.leaf_hash)
        query = query.where(AuditLeaf.position >= start).order_by(AuditLeaf.position)
        if job is not None:
            query = query.where(AuditLeaf.job == job)
        if kind is not None:
            query = query.where(AuditLeaf.kind == kind)
        with self._reading() as connection:
            rows = connection.execute(query.limit(max(0, min(limit, MAX_PAGE)))).all()
        return [LoggedEntry(at, Entry.decode(entry), leaf) for at, entry, leaf in rows]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first ``size`` entries (default: all)."""
        with self._reading() as connection:
            size = self._known_size(connection, size)
            return tree.root_at(nodes_of(connection), size)

    def inclusion(self, position: int, size: int | None = None) -> list[bytes]:
        """The proof that the entry at ``position`` is in the log of ``size`` entries."""
        with self._reading() as connection:
            size = self._known_size(connection, size)
            if not 0 <= position < size:
                raise NotFound(f"the log of {size} entries has no entry {position}")
            return tree.inclusion_proof(nodes_of(connection), position, size)

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the log of ``new`` entries extends the one of ``old``."""
        with self._reading() as connection:
            new = self._known_size(connection, new)
            if not 0 <= old <= new:
                raise NotFound(f"the log of {new} entries does not extend one of {old}")
            return tree.consistency_proof(nodes_of(connection), old, new)

    def _append(
        self, connection: Connection, entries: Sequence[Entry], encoded: Sequence[bytes]
    ) -> range:
        # The update comes first: it takes the write lock before the head is read.
        grown = update(AuditHead).where(AuditHead.id == 1)
        row = connection.execute(
            grown.values(size=AuditHead.size + len(entries)).returning(
                AuditHead.size, AuditHead.compact_range
            )
        ).one()
        first = row.size - len(entries)
        head = _range(first, row.compact_range)
        leaves, nodes = [], []
        for position, (entry, raw) in enumerate(zip(entries, encoded, strict=True), first):
            leaf = tree.leaf_hash(raw)
            leaves.append({
                "position": position, "at": entry.at, "kind": entry.kind, "job": entry.job,
                "entry": raw, "leaf_hash": leaf,
            })  # fmt: skip
            nodes += head.append(leaf)
        if leaves:
            connection.execute(insert(AuditLeaf), leaves)
        if nodes:
            rows = [{"level": n.level, "index": n.index, "hash": n.hash} for n in nodes]
            connection.execute(insert(AuditNode), rows)
        connection.execute(grown.values(compact_range=head.to_bytes()))
        return range(first, row.size)

    def _check_extends(self, connection: Connection, size: int, root: bytes) -> None:
        old = self._signed
        if size >= old.size:
            proof = tree.consistency_proof(nodes_of(connection), old.size, size)
            if tree.verify_consistency(old.size, size, old.root, root, proof):
                return
        raise LogDamaged(
            "the audit log was rewritten while the gateway ran",
            why=f"its {size} entries do not extend the {old.size} that were signed before",
            remedy="stop the gateway and compare the database with an exported log",
        )

    def _head(self, connection: Connection) -> tree.CompactRange:
        row = connection.execute(select(AuditHead.size, AuditHead.compact_range)).one()
        return _range(row.size, row.compact_range)

    def _known_size(self, connection: Connection, size: int | None) -> int:
        known = self._head(connection).size
        if size is None:
            return known
        if not 0 <= size <= known:
            raise NotFound(f"the log has {known} entries, not {size}")
        return size

    def _ensure_head(self) -> None:
        try:
            with self._writing() as connection:
                if connection.scalar(select(AuditHead.id)) is None:
                    connection.execute(insert(AuditHead).values(id=1, size=0, compact_range=b""))
        except IntegrityError:
            pass  # another process made it

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _ours(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _ours(), self._engine.begin() as connection:
            yield connection


@contextmanager
def _ours() -> Iterator[None]:
    try:
        yield
    except (FedgateError, IntegrityError):
        raise
    except SQLAlchemyError as error:
        raise Unavailable("the audit log's database does not answer", why=str(error)) from error


def _tell_once_committed(session: Session, entries: list[Entry]) -> None:
    event.listen(session, "after_commit", lambda _: _tell(entries), once=True)
    event.listen(session, "after_rollback", lambda _: entries.clear(), once=True)


def _tell(entries: Sequence[Entry]) -> None:
    for entry in entries:
        operator_log.tell(entry.kind, entry.data, job=entry.job, actor=entry.actor)


def _connection(session: Session | Connection) -> Connection:
    return session if isinstance(session, Connection) else session.connection()


def _range(size: int, roots: bytes) -> tree.CompactRange:
    try:
        return tree.CompactRange.from_bytes(size, roots)
    except ValueError as error:
        raise LogDamaged("the audit log's head row is damaged", why=str(error)) from error
