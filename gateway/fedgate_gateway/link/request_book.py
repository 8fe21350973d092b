"""Which signed requests have been run here, so that each runs as one job only.

A file in the program's own data folder; it outlives restarts. An entry is dropped a day after its
request has expired: from then on its time alone refuses it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fedgate.codes import Code
from fedgate.errors import Conflict, Denied, InvalidConfig
from fedgate.notice import Notice
from fedgate_gateway.governance import SignedRequest

_FILE: Final = "requests.sqlite"
#: Longer than any clock's error that a request's time is forgiven.
_KEEP_SECONDS: Final = 86400
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS requests (
    digest TEXT PRIMARY KEY, job TEXT NOT NULL, expires INTEGER NOT NULL, done INTEGER NOT NULL
) WITHOUT ROWID
"""


class RequestBook:
    """One per program; every call is small, synchronous, and on disk when it returns."""

    def __init__(self, data: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Raises :class:`InvalidConfig` when the file in ``data`` cannot be used."""
        self._clock = clock
        path = data / _FILE
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise InvalidConfig(
                f"cannot use {path}",
                why=str(error),
                remedy="repair or restore it: without it a gateway could run a request again",
            ) from error

    def check(self, signed: SignedRequest, job: str) -> None:
        """Raises :class:`Denied` when the request was another job, or has been run to its end."""
        with self._failing():
            found = self._db.execute(
                "SELECT job, done FROM requests WHERE digest = ?", (signed.digest,)
            ).fetchone()
        if found is None:
            return
        other, done = found
        if other != job:
            raise Denied(
                "this signed request has been run already",
                why=f"as {other}; a request is one job",
                remedy="submit the workload again: that signs a new request",
                notice=Notice(Code.REQUEST_REPEATED),
            )
        if done:
            raise Denied(
                "this job has been run already",
                why=f"{job} ended here with success",
                notice=Notice(Code.REQUEST_REPEATED),
            )

    def claim(self, signed: SignedRequest, job: str) -> None:
        """From now on the request is this job and no other; again for the same job is fine."""
        with self._failing():
            self._db.execute(
                "DELETE FROM requests WHERE expires < ?", (self._clock() - _KEEP_SECONDS,)
            )
            self._db.execute(
                "INSERT OR IGNORE INTO requests VALUES (?, ?, ?, 0)",
                (signed.digest, job, signed.request.expires),
            )
        self.check(signed, job)

    def began(self, digest: str, job: str) -> bool:
        """Has the request been claimed for this very job, and not come to its end?"""
        with self._failing():
            found = self._db.execute(
                "SELECT 1 FROM requests WHERE digest = ? AND job = ? AND NOT done", (digest, job)
            ).fetchone()
        return found is not None

    def done(self, signed: SignedRequest) -> None:
        """The job has succeeded: it is not started again either."""
        with self._failing():
            self._db.execute("UPDATE requests SET done = 1 WHERE digest = ?", (signed.digest,))

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What cannot be looked up or written is not run."""
        try:
            yield
        except sqlite3.Error as error:
            raise Conflict("the record of requests cannot be used", why=str(error)) from error
