"""The database behind everything: SQLite in WAL mode by default, PostgreSQL by URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from fedgate.errors import InvalidConfig, Unavailable
from fedgate_gateway.store import schema
from fedgate_gateway.store.outage import Outage

#: How a writing transaction begins on SQLite: it takes the write lock at once, since a reader
#: that turns writer half-way fails instead of waiting.
_BEGIN = "fedgate_begin"
#: Of libpq: a server that is silent has gone, after seconds and milliseconds.
_PATIENCE = {"connect_timeout": "5", "tcp_user_timeout": "15000"}


class DatabaseAway(Unavailable):
    """It does not answer now. Nothing is wrong with what was asked, and it may be asked again.

    The outage itself has been told: whoever catches this need not.
    """


class Database:
    """An engine, its transactions and its migrations. Thread-safe."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "postgresql":
            parsed = parsed.set(query={**_PATIENCE, **parsed.query})
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine: Engine = create_engine(
            parsed,
            pool_pre_ping=not self.is_sqlite,
            pool_size=8,
            max_overflow=32,
            hide_parameters=True,  # errors come into the log, what users wrote does not
        )
        self._outage = Outage("the database", "what must be written waits for it")
        self._writing = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        # One writer at a time is SQLite's own rule; waiting for a lock here is fair and immediate,
        # where SQLite's busy handler sleeps and guesses.
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def at(cls, url: str) -> Database:
        """By SQLAlchemy URL; raises :class:`InvalidConfig` for one that leads nowhere."""
        try:
            return cls(url)
        except ModuleNotFoundError as error:
            raise InvalidConfig(
                "the database's driver is not installed",
                why=str(error),
                remedy="for PostgreSQL: pip install 'fedgate[postgres]'",
            ) from error
        except (SQLAlchemyError, ValueError) as error:
            raise InvalidConfig(
                "the setting `database` is no URL of a database",
                why=str(error).splitlines()[0],
                remedy="as postgresql://user:password@host/name, or leave it out for SQLite",
            ) from error

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """The embedded database of a data folder, readable by its owner only."""
        file = folder / "gateway.db"
        file.touch(mode=0o600)
        return cls(f"sqlite:///{file}")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view; whatever is changed in it is rolled back.

        Raises :class:`DatabaseAway`.
        """
        with self._answering(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end and rolled back when anything raises.

        Not reentrant: opening a second one in the same thread would wait for itself. Raises
        :class:`DatabaseAway`; when the link broke at the commit, all of it may be there even so.
        """
        opened = Session(self._writing, expire_on_commit=False)
        with self._answering(), self._writer, opened as session, session.begin():
            yield session

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            if not _is_away(error):
                raise
            self._outage.begins(_cause(error))
            raise DatabaseAway("the database does not answer", why=_cause(error)) from error
        self._outage.ends()

    def migrate(self) -> None:
        """Bring the schema to the newest version; does nothing when it is there already.

        Raises :class:`InvalidConfig` for a schema that this version does not know, and
        :class:`Unavailable` when the database cannot be reached.
        """
        try:
            with self._writer, self._writing.begin() as connection:
                schema.upgrade(connection)
        except schema.UnknownVersion as error:
            raise InvalidConfig(
                "the database was written by a newer fedgate",
                why=str(error),
                remedy="upgrade this gateway, or restore the backup from before the upgrade",
            ) from error
        except SQLAlchemyError as error:
            raise Unavailable(
                "the database does not answer",
                why=_cause(error),
                remedy="start it, or correct `database` in the gateway's configuration",
            ) from error

    def differences(self) -> list[Any]:
        """What the models have and the database lacks, or the other way round; empty when equal."""
        with self.engine.connect() as connection:
            return schema.differences(connection)

    def check(self) -> None:
        """Raise :class:`Unavailable` unless the database answers and has the newest schema."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                current = schema.is_current(connection)
        except SQLAlchemyError as error:
            raise Unavailable("the database does not answer", why=type(error).__name__) from error
        if not current:
            raise Unavailable("the database has another schema", remedy="restart the gateway")

    def close(self) -> None:
        self.engine.dispose()


def _is_away(error: SQLAlchemyError) -> bool:
    """Does it lie with the database and not with what it was asked?"""
    if isinstance(error, OperationalError | InterfaceError | PendingRollbackError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _cause(error: SQLAlchemyError) -> str:
    """The driver's own first line, without the statement and the link that SQLAlchemy adds."""
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(error).__name__])[0]


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where sqlite3 guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    # A committed audit entry may be published in a checkpoint; it must survive a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(str(connection.get_execution_options().get(_BEGIN, "BEGIN")))
