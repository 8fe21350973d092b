from __future__ import annotations

import pytest

from fedgate_gateway.policy import (
    EvidenceFacts,
    JoinRequest,
    ReleaseFacts,
    SubmitRequest,
    WorkloadFacts,
)


@pytest.fixture
def workload() -> WorkloadFacts:
    return WorkloadFacts(
        name="breast-cancer",
        bundle="sha256:" + "ab" * 32,
        framework="flower",
        framework_version=">=1.41,<2",
        dependencies=("flwr>=1.41", "numpy"),
        sites=("site-1", "site-2"),
        min_sites=2,
    )


@pytest.fixture
def submit(workload: WorkloadFacts) -> SubmitRequest:
    return SubmitRequest("alice", "demo", workload)


@pytest.fixture
def join(workload: WorkloadFacts) -> JoinRequest:
    return JoinRequest(
        project="demo",
        site="site-1",
        job="job-1",
        submitter="alice",
        workload=workload,
        evidence=EvidenceFacts("simulated", hardware=False, measurement="00" * 32),
        release=ReleaseFacts(minimum_cohort=2),
        datasets=("breast-cancer",),
        labels=("medical",),
    )
