"""The file in which reports lie until the gateway has taken them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from fedgate.errors import InvalidConfig
from fedgate_proto.v1 import link_pb2 as pb

_FILE: Final = "reports.sqlite"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS reports (
    place INTEGER PRIMARY KEY, job TEXT NOT NULL, outbox BLOB NOT NULL, number INTEGER NOT NULL,
    message BLOB NOT NULL
)
"""


@dataclass(frozen=True)
class Report:
    """``number`` counts those of one job in one outbox, from 1 on."""

    job: str
    outbox: bytes
    number: int
    message: pb.PeerMessage

    @property
    def size(self) -> int:
        return self.message.ByteSize()


class ReportFile:
    """One per program; calls are synchronous, one at a time, and on disk when they return."""

    def __init__(self, data: Path) -> None:
        """Raises :class:`InvalidConfig` when the file in ``data`` cannot be used."""
        path = data / _FILE
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute(_TABLE)
            path.chmod(0o600)
            self.left = self._read()
        except (OSError, sqlite3.Error, DecodeError) as error:
            raise InvalidConfig(
                f"cannot use {path}",
                why=str(error),
                remedy="repair it; or move it away, and the audit log lacks what it held",
            ) from error

    def _read(self) -> list[Report]:
        """What the last run of the program left, in order."""
        rows = self._db.execute("SELECT job, outbox, number, message FROM reports ORDER BY place")
        return [
            Report(job, outbox, number, pb.PeerMessage.FromString(message))
            for job, outbox, number, message in rows
        ]

    def change(
        self, add: Sequence[Report], taken: Mapping[tuple[str, bytes], int] | None = None
    ) -> None:
        """Keep ``add``; forget those up to a number that the gateway has taken, by job and outbox.

        All of it or nothing. Raises :class:`sqlite3.Error`.
        """
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "DELETE FROM reports WHERE job = ? AND outbox = ? AND number <= ?",
                [(*key, number) for key, number in (taken or {}).items()],
            )
            self._db.executemany(
                "INSERT INTO reports (job, outbox, number, message) VALUES (?, ?, ?, ?)",
                [(r.job, r.outbox, r.number, r.message.SerializeToString()) for r in add],
            )

    def close(self) -> None:
        self._db.close()
