"""What a site says when a job ends here, and when its worker did."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import EvidenceRejected, WorkloadFailed
from fedgate.notice import Notice
from fedgate_gateway.site.job import SiteJob
from fedgate_proto.v1 import link_pb2 as pb


class Opening:
    """A session whose enclave never answers, as one that refused the job does not."""

    channel = None

    def __init__(self) -> None:
        self.began, self._answer = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def open(self) -> Any:
        self.began.set()
        return await self._answer

    def refused(self, notice: Notice) -> None:
        self._answer.set_exception(EvidenceRejected("the enclave refused us", notice=notice))

    def closed(self) -> pb.SessionClosed:
        return pb.SessionClosed(job="job-1", site="a")


class Site:
    """A job that opens its session."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.job: Any = object.__new__(SiteJob)
        self.job.session = Opening()
        self.job._collecting = None
        self.job._over = asyncio.get_running_loop().create_future()
        self.job.spec = SimpleNamespace(job="job-1", sites=("a",))
        self.job._link = SimpleNamespace(send=self.said.append)
        self.job._tell_owner = lambda _text: None
        self.job._report = lambda kind, _notice: self.said.append(kind)
        self.job._close = lambda: asyncio.sleep(0)


def test_a_job_that_was_taken_from_a_site_is_not_refused_by_it() -> None:
    """Its enclave has refused it, and the next one is at work: it would hear that we are gone."""

    async def test() -> None:
        site = Site()
        running = asyncio.ensure_future(site.job.run())
        await site.job.session.began.wait()
        site.job.stop("the enclave refused the job")
        assert await running == "the enclave refused the job"
        assert site.said == []

    asyncio.run(asyncio.wait_for(test(), 10))


def test_a_site_that_its_enclave_refuses_says_so() -> None:
    async def test() -> None:
        site = Site()
        running = asyncio.ensure_future(site.job.run())
        await site.job.session.began.wait()
        site.job.session.refused(Notice(Code.NOT_ON_ROSTER))
        assert "refused us" in await running
        assert site.said[0] == "site.refused"
        assert site.said[1].WhichOneof("body") == "session_closed"

    asyncio.run(asyncio.wait_for(test(), 10))


@pytest.mark.parametrize(
    ("notice", "again"),
    [
        (Notice(Code.WORKER_DIED), True),
        (Notice(Code.TOO_MUCH_MEMORY, {"bytes": 300 << 20}), False),
        (Notice(Code.TOO_MANY_PROCESSES, {"limit": 10}), False),
        (Notice(Code.SCRATCH_FULL, {"bytes": 10}), False),
    ],
)
def test_a_worker_that_crashed_is_started_again_and_one_that_met_a_limit_is_not(
    notice: Notice, again: bool
) -> None:
    async def test() -> None:
        told: list[tuple[str, Any]] = []
        job: Any = object.__new__(SiteJob)
        job._over = asyncio.get_running_loop().create_future()
        job._collecting, job._restarts = None, 0
        job._in_hand = {"t1": 1}
        job._config = SimpleNamespace(worker_restarts=2)
        job._restart = lambda _error: asyncio.sleep(0, told.append(("restarted", None)))
        job._leave = lambda error: told.append(("left", error.notice))
        job._egress = SimpleNamespace(fail=lambda task, *_: told.append(("failed", task)))
        job._worker_ended(WorkloadFailed("it ended", notice=notice))
        await asyncio.sleep(0)
        left = [("failed", "t1"), ("left", notice)]
        assert told == ([("restarted", None)] if again else left)

    asyncio.run(test())


@pytest.mark.parametrize(("reason", "stays"), [("", 0), ("the coordinator died", 1)])
def test_of_a_job_that_failed_the_log_says_that_files_stay(reason: str, stays: int) -> None:
    async def test() -> None:
        told: list[str] = []
        job: Any = Site().job
        job.session = SimpleNamespace(channel=None)
        job._restarting = job._child = job._receiver = None
        job._failed = job.succeeded = False
        job._egress = SimpleNamespace(close=lambda: None)
        job._series = SimpleNamespace(give_back=lambda _job: None)
        job._keep_outputs = lambda: told.append("kept")
        job._files = SimpleNamespace(stay=lambda: asyncio.sleep(0, told.append("stay")))
        job._control(None, "over", {"reason": reason})
        assert job.succeeded is not bool(reason)
        await SiteJob._close(job)
        assert told == ["kept", *["stay"] * stays]

    asyncio.run(test())
