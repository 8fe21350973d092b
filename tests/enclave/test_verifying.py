"""An enclave asks for itself whether a job is what was signed: before it unpacks anything of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedgate.codes import Code
from fedgate.errors import Denied
from fedgate.manifest import Manifest
from fedgate.notice import public
from fedgate_gateway.config import Release
from fedgate_gateway.enclave import admission
from fedgate_gateway.enclave.job import EnclaveJob
from fedgate_gateway.inspection import Inspected
from fedgate_gateway.link.spec import Spec

BUNDLE = "sha256:" + "ab" * 32
MANIFEST = Manifest("plain", "mean")
HONEST = Spec(
    job="job-1", project="demo", name="mean", bundle=BUNDLE, bundle_bytes=1, framework="plain",
    manifest=MANIFEST, submitter="alice", sites=("a", "b", "c"), datasets=(), min_sites=2,
    config={}, recipient=b"", task_seconds=0.0, enclave="e", request=b"",
)  # fmt: skip


class Unpacked(Exception):
    """It went on."""


def begin(monkeypatch: pytest.MonkeyPatch, spec: Spec, min_sites: int | None = 2) -> None:
    """The first steps of a job with ``spec``, whose submitter signed ``HONEST``."""

    async def fetched(*_: Any) -> tuple[bytes, Inspected]:
        return b"", Inspected(BUNDLE, 1, MANIFEST)

    async def unpack(*_: Any, **__: Any) -> None:
        raise Unpacked

    monkeypatch.setattr(admission, "open_bundle", fetched)
    asked = SimpleNamespace(
        project="demo", bundle=BUNDLE, submitter="alice", name="", datasets=(), recipient="",
        task_seconds=None, min_sites=min_sites, config={}, sites=(), site_files=False,
    )  # fmt: skip
    job: Any = object.__new__(EnclaveJob)
    job.spec, job.signed = spec, SimpleNamespace(request=asked)
    job._link, job._inspector = None, SimpleNamespace(unpack=unpack)
    members = dict.fromkeys("abc")
    job._project = SimpleNamespace(release=Release(minimum_cohort=2), members=members)
    job._work = Path("/nonexistent")
    asyncio.run(job._run())


def test_a_job_as_it_was_signed_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unpacked):
        begin(monkeypatch, HONEST)


@pytest.mark.parametrize(
    "change",
    [
        {"min_sites": 1}, {"sites": ("a",)}, {"config": {"lr": 0.0}}, {"submitter": "mallory"},
        {"datasets": ("secrets",)}, {"task_seconds": 9.0}, {"name": "another"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_job_that_the_gateway_changed_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    with pytest.raises(Denied) as denied:
        begin(monkeypatch, replace(HONEST, **change))
    assert public(denied.value).code is Code.REQUEST_CHANGED


@pytest.mark.parametrize("change", [{"min_sites": 1}, {"sites": ("a",)}])
def test_a_job_below_its_projects_cohort_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """Where the submitter left the number open."""
    with pytest.raises(Denied) as denied:
        begin(monkeypatch, replace(HONEST, **change), None)
    assert public(denied.value).code is Code.TOO_FEW_FOR_PROJECT
