"""One gateway for one database: a second one is refused while the first lives.

Two gateways on one database would each schedule, and each end, the other's jobs. On SQLite the
lease is a lock on a file beside the database; on PostgreSQL it is an advisory lock of a connection
of its own. Both go with the process that holds them, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from fedgate.errors import Conflict, Unavailable
from fedgate_gateway.store.database import Database

#: "fedgate" as a number: what gateways lock in a PostgreSQL database.
_ADVISORY = 0x66656467617465
_PAUSE = 0.2
T = TypeVar("T")


class Lease(Protocol):
    def check(self) -> None:
        """Blocking. Raises :class:`Conflict` when another gateway has taken the database over, and
        :class:`Unavailable` while nobody can tell.
        """

    def release(self) -> None: ...


def take_lease(database: Database, folder: Path, *, patience: float = 10.0) -> Lease:
    """Hold the database, or raise :class:`Conflict` after ``patience`` seconds.

    A gateway that is being restarted needs a moment to end. ``folder`` is where the lock of an
    embedded database lies that has no file of its own.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return _FileLease(database, folder) if database.is_sqlite else _ServerLease(database)
        except Conflict:
            if time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)


class _FileLease:
    def __init__(self, database: Database, folder: Path) -> None:
        named = database.engine.url.database
        path = Path(f"{named}.lock") if named else folder / "gateway.lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise _taken(str(path), f"process {holder}" if holder else "") from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def check(self) -> None:
        """The kernel keeps it for as long as this process lives."""

    def release(self) -> None:
        os.close(self._fd)


class _ServerLease:
    """The lock is gone when the connection is; then it has to be taken again."""

    def __init__(self, database: Database) -> None:
        self._engine: Engine = database.engine
        self._connection: Connection | None = None
        self._take()

    def _take(self) -> None:
        connection = _reached(lambda: self._engine.connect())  # noqa: PLW0108 - called late
        try:
            asked = text(f"SELECT pg_try_advisory_lock({_ADVISORY})")
            mine = _reached(lambda: connection.execute(asked).scalar())
            connection.commit()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        if not mine:
            connection.close()
            raise _taken(self._engine.url.render_as_string(hide_password=True), "")
        self._connection = connection

    def check(self) -> None:
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
                self._connection.commit()
                return
            except SQLAlchemyError:
                self.release()
        self._take()

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # closed, not given back to the pool with its lock
            connection.close()


def _reached(call: Callable[[], T]) -> T:
    try:
        return call()
    except SQLAlchemyError as error:
        raise Unavailable("the database does not answer", why=type(error).__name__) from error


def _taken(place: str, holder: str) -> Conflict:
    return Conflict(
        "another gateway runs on this database",
        why=f"{place} is held" + (f" by {holder}" if holder else ""),
        remedy="stop that one first; one database serves one gateway at a time",
    )
