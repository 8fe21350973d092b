"""A job that starts anew while its former attempt is still closing here is joined after that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate_gateway.site.agent import SiteAgent
from fedgate_proto.v1 import link_pb2 as pb


class Closing:
    """A job that takes a moment to close."""

    def __init__(self, *, ending: bool, succeeded: bool = False, enclave: str = "e-1") -> None:
        self.ending, self.succeeded = ending, succeeded
        self.spec = SimpleNamespace(job="job-1", enclave=enclave)
        self.over = asyncio.Event()
        if ending:
            self.over.set()

    def stop(self, reason: str) -> None:
        self.ending = True
        self.over.set()


def joined(job: Any, enclave: str) -> bool:
    """Does the job start anew here?"""

    async def run() -> bool:
        agent: Any = SiteAgent.__new__(SiteAgent)  # its files are not needed for this
        closing = job()

        async def close() -> None:
            await closing.over.wait()
            await asyncio.sleep(0.02)
            agent._jobs.clear()
            agent._running.clear()

        agent._jobs = {"job-1": closing}
        agent._running = {"job-1": asyncio.create_task(close())}
        return bool(await agent._make_way(closing, pb.JobSpec(job="job-1", enclave=enclave)))

    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize(
    ("job", "enclave", "expected"),
    [
        (lambda: Closing(ending=True), "e-1", True),
        (lambda: Closing(ending=True), "e-2", True),
        (lambda: Closing(ending=False), "e-2", True),  # it never heard of the first one's end
        (lambda: Closing(ending=False), "e-1", False),  # it is in it already
        (lambda: Closing(ending=True, succeeded=True), "e-1", False),
    ],
)
def test_a_former_attempt_makes_way(job: Any, enclave: str, expected: bool) -> None:
    assert joined(job, enclave) is expected
