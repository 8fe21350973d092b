"""Workers that crash again and again are waited for so often only, whatever their site's bound."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from fedgate.codes import Code
from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.notice import Notice, public
from fedgate_gateway.enclave.attendance import Attendance
from fedgate_gateway.enclave.job import EnclaveJob
from fedgate_gateway.link.control import write_leaving
from fedgate_gateway.sealed import LetterKind

CRASH = WorkloadFailed("it crashed", notice=Notice(Code.WORKER_DIED))


class Job:
    """What of a running job hears of its sites' workers."""

    def __init__(self) -> None:
        self.lost: dict[str, FedgateError] = {}
        self.failed_tasks: list[str] = []
        self.welcomes = 0
        self.attendance = Attendance(
            ("a", "b"), grace_seconds=60, ready_seconds=60,
            on_ready=lambda _site: None, on_lost=self.lost.__setitem__,
        )  # fmt: skip
        self.attendance.begin()
        ignored = SimpleNamespace(
            site_state=lambda *_: None, session=lambda *_: None, tell=lambda *_, **__: None
        )
        session = SimpleNamespace(channel=SimpleNamespace(post=self._post))
        job: Any = object.__new__(EnclaveJob)
        job._restarts, job._crashes, job._running = Counter(), {}, True
        job._attendance, job._reports, job._log = self.attendance, ignored, ignored
        job._conductor = SimpleNamespace(
            lose=lambda site, _reason, *, returning: self.failed_tasks.append(site)
        )
        job._sessions = SimpleNamespace(get=lambda _site: session)
        self.job = job

    def _post(self, _kind: LetterKind, _body: bytes) -> None:
        self.welcomes += 1

    def crashes(self, site: str, error: FedgateError = CRASH, what: str = "restarting") -> None:
        self.job._control(site, write_leaving(error, 100, what))


def test_a_site_whose_worker_crashes_for_the_eleventh_time_is_lost() -> None:
    async def test() -> None:
        stage = Job()
        for _ in range(10):
            stage.crashes("a")
        assert (stage.lost, stage.failed_tasks, stage.welcomes) == ({}, ["a"] * 10, 10)
        for _ in range(3):  # once it is lost, its word counts for nothing
            stage.crashes("a")
        assert public(stage.lost["a"]) == Notice(Code.TOO_MANY_RESTARTS, {"restarts": 11})
        assert (stage.welcomes, stage.attendance.left) == (10, ["b"])
        stage.crashes("b")  # each site has its own
        assert (stage.attendance.left, stage.welcomes) == (["b"], 11)
        stage.attendance.close()

    asyncio.run(test())


def test_a_worker_that_met_its_memory_limit_leaves_with_the_limit() -> None:
    async def test() -> None:
        stage = Job()
        limit = Notice(Code.TOO_MUCH_MEMORY, {"bytes": 300 << 20})
        stage.crashes("a", WorkloadFailed("too much", notice=limit), "left")
        assert public(stage.lost["a"]) == limit
        assert "memory limit: 314572800 bytes" in limit.sentence
        told = stage.attendance.explain(Notice(Code.ALL_TASKS_FAILED))
        assert told.sentence.endswith("a: the workload was ended at its memory limit")
        stage.attendance.close()

    asyncio.run(test())
