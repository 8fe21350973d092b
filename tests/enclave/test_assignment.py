"""Whatever goes wrong when a job is made, the gateway hears of it: no job is starting for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.notice import read_notice
from fedgate_gateway.enclave.host import EnclaveHost
from fedgate_gateway.link.spec import Spec
from fedgate_proto.v1 import link_pb2 as pb


def test_an_enclave_that_cannot_make_a_job_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a project file that holds what nobody thought of."""

    def broken(_message: pb.JobSpec) -> Any:
        raise KeyError("members")

    sent: list[pb.PeerMessage] = []
    host = object.__new__(EnclaveHost)
    host._jobs, host._running = {}, {}
    host.link = SimpleNamespace(send=sent.append)  # type: ignore[assignment]
    monkeypatch.setattr(Spec, "read", broken)
    host._assign(pb.JobSpec(job="job-1"))
    (message,) = sent
    assert message.report.job == "job-1"
    assert read_notice(message.report.refused).code is Code.INTERNAL
