"""A job's log holds what was printed, and at its end what happened, whatever was printed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fedgate_gateway.enclave.job_log import JobLog


@contextlib.contextmanager
def log_of(printed: bytes) -> Iterator[tuple[JobLog, list[bytes]]]:
    heard: list[bytes] = []
    log = JobLog(heard.append)
    with log.path.open("ab") as file:
        file.write(printed)
    yield log, heard
    log.close()


def test_our_lines_follow_what_was_printed() -> None:
    with log_of(b"hello") as (log, heard):
        log.tell("no luck", site="site-2")
        assert log.read(1000) == b"hello\nfedgate: site-2: no luck\n"
        assert heard == [b"fedgate: site-2: no luck\n"]


def test_they_have_room_however_much_was_printed() -> None:
    with log_of(b"x" * 5000) as (log, _):
        log.tell("no luck")
        assert len(log.read(100)) == 100
        assert log.read(100).endswith(b"x\nfedgate: no luck\n")
        assert log.read(10) == b"fedgate: n"
        assert log.read(0) == b""


def test_they_are_bounded_one_by_one_and_together() -> None:
    with log_of(b"") as (log, heard):
        for _ in range(100):
            log.tell("y" * 100_000, site="site-1")
        assert len(log.read(1 << 20)) <= 128 * 1024
        assert 1 < len(heard) < 100
