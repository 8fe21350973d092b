"""The release gate: what leaves an enclave, how much of it, and to whom."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fedgate.codes import Code
from fedgate.errors import Conflict, Denied, FedgateError, NotFound, SealBroken, Unavailable
from fedgate.model import Model
from fedgate_gateway.child.parts import PartTable
from fedgate_gateway.child.wire import Message
from fedgate_gateway.config import Release
from fedgate_gateway.enclave import release as module
from fedgate_gateway.enclave.conductor import Published
from fedgate_gateway.enclave.job import EnclaveJob
from fedgate_gateway.enclave.release import ReleaseGate, pack_artifacts
from fedgate_gateway.sealed import (
    BoxContext,
    BoxFacts,
    IdentityKey,
    RecipientKey,
    open_box,
    open_stream,
)
from fedgate_proto.v1 import link_pb2 as pb

MODEL = Model.from_numpy({"w": np.arange(5000, dtype=np.float32)}).to_bytes()
BUNDLE, REQUEST = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
ONE = frozenset("a")
FACTS = BoxFacts(1, ("a", "b"))


class Gateway:
    """Takes what is uploaded; its first answers are the given errors."""

    def __init__(self, *errors: FedgateError) -> None:
        self.errors = list(errors)
        self.outputs: dict[str, tuple[pb.OutputHeader, bytes]] = {}
        self.up = asyncio.Event()
        self.up.set()

    async def upload(
        self, link: Any, header: pb.OutputHeader, pieces: AsyncIterator[bytes]
    ) -> None:
        data = b"".join([p async for p in pieces])
        assert len(data) == header.size
        if self.errors:
            raise self.errors.pop(0)
        self.outputs[header.name] = (header, data)


@pytest.fixture
def recipient() -> RecipientKey:
    return RecipientKey.generate()


def release(
    monkeypatch: pytest.MonkeyPatch,
    recipient: RecipientKey,
    *errors: FedgateError,
    cohort: frozenset[str] = frozenset("ab"),
    everything: frozenset[str] | None = frozenset("ab"),
    patience: float = 60.0,
    **rules: Any,
) -> Gateway:
    monkeypatch.setattr(module, "_PAUSE", 0.0)

    async def go() -> Gateway:
        gateway = Gateway(*errors)
        monkeypatch.setattr(module, "upload_output", gateway.upload)
        gate = ReleaseGate(
            gateway, "job-1", BUNDLE, REQUEST, Release(**rules),  # type: ignore[arg-type]
            recipient.public_raw, IdentityKey.generate(), FACTS, patience,
        )  # fmt: skip
        table = PartTable(print, 1 << 30)
        table.add(Message({"t": "part", "k": 1, "s": len(MODEL)}, MODEL))
        published = Published(table.get(1), 1, {}, cohort)
        gate.check(published, everything)
        await gate.model(published)
        return gateway

    return asyncio.run(go())


def test_a_sealed_model_is_only_the_recipients_to_read(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey
) -> None:
    header, data = release(monkeypatch, recipient).outputs["model.safetensors"]
    assert header.sealed
    assert MODEL[200:300] not in data
    context = BoxContext("job-1", "model.safetensors", BUNDLE, REQUEST)
    opened = open_box([data], recipient, context)
    assert (opened.facts, b"".join(opened.pieces)) == (FACTS, MODEL)
    with pytest.raises(SealBroken):
        list(open_stream([data], RecipientKey.generate(), context))


def test_a_model_is_clear_only_where_the_project_says_so(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey
) -> None:
    header, data = release(monkeypatch, recipient, model="clear").outputs["model.safetensors"]
    assert not header.sealed
    assert data == MODEL


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ({"minimum_cohort": 2, "artifacts": "never", "logs": "never"}, Code.COHORT_TOO_SMALL),
        ({"minimum_cohort": 2}, Code.COHORT_TOO_SMALL),
        ({"artifacts_minimum_cohort": 2}, Code.ARTIFACTS_COHORT_TOO_SMALL),
        ({"logs_minimum_cohort": 2}, Code.LOGS_COHORT_TOO_SMALL),
        ({"logs_minimum_cohort": 2, "logs": "clear"}, Code.LOGS_COHORT_TOO_SMALL),
    ],
)
def test_an_output_of_too_few_sites_stays_inside_and_so_do_the_others(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey, rules: dict[str, Any], code: Code
) -> None:
    with pytest.raises(Denied, match="not released") as denied:
        release(monkeypatch, recipient, cohort=ONE, everything=ONE, **rules)
    assert denied.value.notice.code is code
    setting = {Code.ARTIFACTS_COHORT_TOO_SMALL: "artifacts_", Code.LOGS_COHORT_TOO_SMALL: "logs_"}
    assert f"release.{setting.get(code, '')}minimum_cohort" in str(denied.value)


@pytest.mark.parametrize(
    ("everything", "rules"),
    [
        (ONE, {"minimum_cohort": 2, "artifacts": "never", "logs": "never"}),
        (ONE, {"minimum_cohort": 2, "artifacts_minimum_cohort": 1, "logs_minimum_cohort": 1}),
        (None, {"minimum_cohort": 2}),  # no site has answered anything
    ],
)
def test_a_model_leaves_where_what_is_of_too_few_sites_does_not_or_may(
    monkeypatch: pytest.MonkeyPatch,
    recipient: RecipientKey,
    everything: frozenset[str] | None,
    rules: dict[str, Any],
) -> None:
    assert release(monkeypatch, recipient, everything=everything, **rules).outputs


@pytest.mark.parametrize(
    ("least", "everything", "leaves"),
    [(2, ONE, False), (1, ONE, True), (2, frozenset("ab"), True), (2, None, True)],
)
def test_a_failed_jobs_log_leaves_alone_and_by_its_own_cohort(
    monkeypatch: pytest.MonkeyPatch,
    recipient: RecipientKey,
    least: int,
    everything: frozenset[str] | None,
    leaves: bool,
) -> None:
    """What one site answered can be in it, however the job ended."""

    async def go() -> Gateway:
        gateway = Gateway()
        monkeypatch.setattr(module, "upload_output", gateway.upload)
        job: Any = object.__new__(EnclaveJob)
        job._link, job._identity = gateway, IdentityKey.generate()
        job._project = SimpleNamespace(release=Release(logs_minimum_cohort=least))
        job.spec = SimpleNamespace(job="job-1", bundle=BUNDLE, recipient=recipient.public_raw)
        job.signed = SimpleNamespace(digest=REQUEST)
        job._conductor = SimpleNamespace(cohorts=SimpleNamespace(smallest=lambda: everything))
        job._log = SimpleNamespace(read=lambda _most: b"Patient 17")
        with contextlib.suppress(Denied):
            await job._release_log()
        return gateway

    assert set(asyncio.run(go()).outputs) == ({"coordinator.log"} if leaves else set())


def test_a_job_needs_as_many_sites_as_what_its_project_releases() -> None:
    assert Release(minimum_cohort=2).least_sites == 2
    assert Release(minimum_cohort=2, logs_minimum_cohort=3).least_sites == 3
    assert Release(minimum_cohort=2, logs_minimum_cohort=3, logs="never").least_sites == 2
    assert Release(minimum_cohort=2, artifacts_minimum_cohort=1).least_sites == 2


@pytest.mark.parametrize("error", [Unavailable("restarting"), NotFound("not yet known")])
def test_a_gateway_that_restarts_does_not_cost_the_release(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey, error: FedgateError
) -> None:
    assert release(monkeypatch, recipient, error, error).outputs


def test_a_release_whose_receipt_was_lost_is_one_release(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey
) -> None:
    release(monkeypatch, recipient, Unavailable("lost"), Conflict("it is here already"))


def test_an_object_store_that_is_away_for_long_does_not_cost_it_either(
    monkeypatch: pytest.MonkeyPatch, recipient: RecipientKey
) -> None:
    assert release(monkeypatch, recipient, *[Unavailable("its object store is away")] * 30).outputs


@pytest.mark.parametrize(
    ("errors", "patience"),
    [([Conflict("exists")], 60.0), ([NotFound("gone")] * 5, 60.0), ([Unavailable("gone")], 0.0)],
)
def test_a_gateway_that_never_takes_it_fails_the_release(
    monkeypatch: pytest.MonkeyPatch,
    recipient: RecipientKey,
    errors: list[FedgateError],
    patience: float,
) -> None:
    with pytest.raises(type(errors[0])):
        release(monkeypatch, recipient, *errors, patience=patience)


# -- artifacts ----------------------------------------------------------------------------------


def names(archive: memoryview | None) -> dict[str, bytes]:
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        return {n: zipped.read(n) for n in zipped.namelist()}


def test_plain_files_are_packed_with_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "curve.csv").write_text("1,2")
    (tmp_path / "z.txt").write_text("z")
    assert names(pack_artifacts(tmp_path, 100)) == {"a/curve.csv": b"1,2", "z.txt": b"z"}


def test_no_files_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert pack_artifacts(tmp_path, 100) is None


def test_nothing_outside_can_be_pulled_in_by_links_devices_or_hidden_names(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    root = tmp_path / "root"
    (root / ".tmp").mkdir(parents=True)
    (root / ".tmp" / "x").write_text("x")
    (root / "__pycache__").mkdir()
    (root / "__pycache__" / "x.pyc").write_text("x")
    (root / ".hidden").write_text("x")
    (root / "link").symlink_to(secret / "key")
    (root / "folder").symlink_to(secret)
    (root / "passwd").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("/nonexistent")
    os.mkfifo(root / "pipe")
    (root / "real").write_text("real")
    assert names(pack_artifacts(root, 1000)) == {"real": b"real"}


def test_more_than_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 60)
    (tmp_path / "b").write_bytes(b"x" * 60)
    pack_artifacts(tmp_path, 120)
    with pytest.raises(Denied, match="exceed 119 bytes"):
        pack_artifacts(tmp_path, 119)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Denied):
        pack_artifacts(tmp_path, 1 << 30)


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_FILES", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(Denied):
        pack_artifacts(tmp_path, 100)


def test_names_and_times_that_a_zip_cannot_hold_do_not_fail_the_job(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(b"1")
    os.utime(odd, (0, 0))
    assert list(names(pack_artifacts(tmp_path, 100)).values()) == [b"1"]


def test_text_is_compressed_and_weights_are_not(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("the same line\n" * 10_000)
    (tmp_path / "model.npy").write_bytes(os.urandom(200_000))
    archive = pack_artifacts(tmp_path, 1 << 30)
    assert archive is not None
    with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
        kinds = {i.filename: (i.compress_type, i.compress_size) for i in zipped.infolist()}
    assert kinds["model.npy"] == (zipfile.ZIP_STORED, 200_000)
    assert kinds["log.txt"][1] < 10_000
