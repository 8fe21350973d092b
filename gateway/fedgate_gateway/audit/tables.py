"""The log's tables. Whatever they say is checked against signed checkpoints before it is believed.

``audit_head`` is one row: how many leaves there are and the compact range over them. Appending
starts with an update of it, which takes the database's own write lock; so positions have no gaps,
whoever appends, and a rollback takes an entry back without a trace.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Engine, Integer, LargeBinary, SmallInteger, String, Table, Text
from sqlalchemy.orm import Mapped, mapped_column

from fedgate_gateway.store.base import Base, UtcDateTime

#: SQLite's own row number is only an INTEGER PRIMARY KEY, not a BIGINT one.
_POSITION = BigInteger().with_variant(Integer(), "sqlite")


class AuditHead(Base):
    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    compact_range: Mapped[bytes] = mapped_column(LargeBinary)


class AuditLeaf(Base):
    __tablename__ = "audit_leaves"

    position: Mapped[int] = mapped_column(_POSITION, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(64))
    job: Mapped[str | None] = mapped_column(String(128), index=True)
    entry: Mapped[bytes] = mapped_column(LargeBinary)  # canonical JSON
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditNode(Base):
    """A complete subtree of level 1 and up; level 0 is ``audit_leaves.leaf_hash``."""

    __tablename__ = "audit_nodes"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditCheckpoint(Base):
    __tablename__ = "audit_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


_TABLES = (AuditHead, AuditLeaf, AuditNode, AuditCheckpoint)


def create_tables(engine: Engine) -> None:
    """Create the log's tables where migrations have not."""
    tables = [table.__table__ for table in _TABLES]
    Base.metadata.create_all(engine, tables=[t for t in tables if isinstance(t, Table)])
