"""Whatever goes wrong when a site joins a job, the enclave hears of it and does not wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from fedgate.codes import Code
from fedgate.notice import read_notice
from fedgate_gateway.site.agent import SiteAgent
from fedgate_proto.v1 import link_pb2 as pb


def test_a_site_that_cannot_join_says_so() -> None:
    async def broken(_message: pb.JobSpec) -> Any:
        raise KeyError("members")

    sent: list[pb.PeerMessage] = []
    told: list[str] = []
    agent: Any = object.__new__(SiteAgent)
    agent._jobs, agent._make = {}, broken
    agent._config = SimpleNamespace(name="a")
    agent._audit = lambda job, _entry: told.append(job)
    agent.link = SimpleNamespace(send=sent.append)
    asyncio.run(agent._join(pb.JobSpec(job="job-1")))
    (message,) = sent
    assert read_notice(message.session_closed.notice).code is Code.INTERNAL
    assert told == ["job-1"]
