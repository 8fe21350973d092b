"""Whatever goes wrong when a site joins a job, the enclave hears of it and does not wait."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import Conflict
from fedgate.manifest import Manifest
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


def test_a_site_gives_its_one_gpu_to_one_job_whatever_the_gateway_sends() -> None:
    agent: Any = object.__new__(SiteAgent)
    agent._config = SimpleNamespace(name="a", resources={"num_of_gpus": 1.0})
    wants = Manifest("flare", "n", resources={"a:num_of_gpus": 1.0, "b:num_of_gpus": 4.0})
    running = SimpleNamespace(manifest=wants, ending=False)
    agent._jobs = {"job-1": running}
    agent._check_resources(Manifest("flare", "needs none"))
    with pytest.raises(Conflict, match=r"num_of_gpus = 1 \(1 declared, 1 in use\)") as refused:
        agent._check_resources(wants)
    assert refused.value.notice is not None
    assert refused.value.notice.code is Code.RESOURCES_HELD
    agent._config.resources = {"num_of_gpus": 2.0, "mem_per_gpu_in_GiB": 24.0}
    large = {"a:num_of_gpus": 1.0, "a:mem_per_gpu_in_GiB": 20.0}
    running.manifest = Manifest("flare", "n", resources=large)
    agent._check_resources(Manifest("flare", "n", resources=large))  # on the other GPU
    agent._config.resources = {"num_of_gpus": 1.0}
    running.ending = True
    agent._check_resources(wants)
