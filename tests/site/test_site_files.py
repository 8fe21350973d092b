"""What a worker left goes out as one archive, or stays: by request, project, policy and size."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedgate.bundle import Bundle
from fedgate.codes import Code
from fedgate.notice import Notice
from fedgate_gateway.config import Release
from fedgate_gateway.link.control import read_control, read_files, read_kept
from fedgate_gateway.policy import Decision, FileFacts
from fedgate_gateway.sealed import CargoKey
from fedgate_gateway.site.file_archive import Archive
from fedgate_gateway.site.outputs import LeftFile, SiteOutputs
from fedgate_gateway.site.site_files import MOST_FILES, SiteFiles, told_count

JOB = "job-1"
OPEN = Release(site_files="one-site-sealed")


@dataclass
class Enclave:
    """The other end: hears letters, and gets what is delivered."""

    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    got: bytes = b""

    def post(self, _kind: Any, body: bytes, *, cargo: Sequence[Any] = ()) -> None:
        self.said.append(read_control(body))
        assert (read_control(body)[0] == "files") == bool(cargo)

    async def deliver(self, key: CargoKey, plain: memoryview, _to: Sequence[Any]) -> None:
        assert key.size == len(plain)
        self.got = bytes(plain)


@dataclass
class Site:
    folder: Path
    asked: bool = True
    rules: Release = OPEN
    allowed: bool = True
    facts: list[FileFacts] = field(default_factory=list)
    reports: list[tuple[str, Notice]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    enclave: Enclave = field(default_factory=Enclave)

    def permits(self, found: FileFacts) -> Decision:
        self.facts.append(found)
        return Decision("site.cedar", self.allowed)

    def files(self, **names: bytes) -> SiteFiles:
        scratch = self.folder / "scratch"
        for name, content in names.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        outputs = SiteOutputs(self.folder / "data", limit=100_000_000, days=1)
        outputs.keep(JOB, scratch)
        return SiteFiles(
            JOB, asked=self.asked, rules=self.rules, outputs=outputs, permits=self.permits,
            folder=self.folder / "data/jobs", report=lambda *said: self.reports.append(said),
            tell=self.told.append,
        )  # fmt: skip

    def collect(self, **names: bytes) -> str:
        """The site's answer to an enclave that collects."""
        files = self.files(**names)
        asyncio.run(files.hand_over(self.enclave, self.enclave))  # type: ignore[arg-type]
        ((what, _),) = self.enclave.said
        return what

    def kept(self) -> Code:
        """Why it said that it keeps them: in the session, and in the log."""
        ((_, fields),) = self.enclave.said
        why = read_kept(fields)
        assert why is not None
        assert self.reports == [("site-files.kept", why)]
        assert not self.enclave.got
        return why.code


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_asked_for_and_permitted_goes_whole(site: Site) -> None:
    assert site.collect(**{"psi/intersection.txt": b"a\nb\n", "curve.png": b"p" * 5000}) == "files"
    key, whole = read_files(site.enclave.said[0][1])
    assert (key.size, whole) == (len(site.enclave.got), True)
    tree = Bundle.read(site.enclave.got).tree
    assert dict(tree) == {"psi/intersection.txt": b"a\nb\n", "curve.png": b"p" * 5000}
    assert site.facts == [FileFacts(2, 5004, ("curve.png", "psi/intersection.txt"))]
    assert site.reports == []
    assert list((site.folder / "data/jobs").iterdir()) == []


def test_where_nothing_was_left_nothing_is_said(site: Site) -> None:
    assert site.collect() == "kept"
    assert read_kept(site.enclave.said[0][1]) is None
    assert site.reports == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"asked": False}, Code.FILES_NOT_ASKED),
        ({"rules": Release()}, Code.FILES_NOT_IN_PROJECT),
        ({"allowed": False}, Code.FILES_NOT_PERMITTED),
        ({"rules": OPEN.model_copy(update={"site_file_bytes": 9})}, Code.FILES_TOO_LARGE),
    ],
)
def test_whoever_may_say_no_keeps_them_at_the_site(
    site: Site, changed: dict[str, Any], code: Code
) -> None:
    for name, value in changed.items():
        setattr(site, name, value)
    assert site.collect(a=b"Patient", b=b"Muster") == "kept"
    assert site.kept() is code


def test_too_many_files_stay_and_a_flood_is_counted_in_powers_of_two(site: Site) -> None:
    names = {f"f{n}": b"" for n in range(MOST_FILES + 1)}
    assert site.collect(**names) == "kept"
    assert site.kept() is Code.FILES_TOO_LARGE
    assert [told_count(n) for n in (1, 2, 3, 5, 10_000)] == [1, 2, 4, 8, 16_384]


def test_names_that_no_archive_can_hold_are_left_out(site: Site) -> None:
    names = {"good.txt": b"1", "back\\slash": b"2", "line\nbreak": b"3", "GOOD.txt": b"4",
             "A/x": b"5", os.fsdecode(b"\xff"): b"6"}  # fmt: skip
    assert site.collect(**names) == "files"
    assert read_files(site.enclave.said[0][1])[1] is False
    assert dict(Bundle.read(site.enclave.got).tree) == {"GOOD.txt": b"4", "A/x": b"5"}
    assert site.told == ["2 files that the worker left go to the submitter"]


def test_another_name_of_a_file_that_the_worker_did_not_write_stays(site: Site) -> None:
    secret = site.folder / "identity.key"
    secret.write_text("the site's own")
    (site.folder / "scratch").mkdir()
    os.link(secret, site.folder / "scratch/mine")
    (site.folder / "scratch/link").symlink_to(secret)
    assert site.collect(note=b"n") == "files"
    assert dict(Bundle.read(site.enclave.got).tree) == {"note": b"n"}


def test_a_file_that_cannot_be_opened_costs_the_others_nothing(tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(b"1")
    bad.symlink_to(good)
    archive = Archive.of([LeftFile(f.name, 1, f) for f in (bad, good)], tmp_path)
    assert dict(Bundle.read(bytes(archive.view)).tree) == {"good": b"1"}
    archive.close()


def test_where_no_file_can_go_the_site_says_so(site: Site) -> None:
    assert site.collect(**{"back\\slash": b"2"}) == "kept"
    assert site.kept() is Code.FILES_LEFT_OUT


def test_of_a_job_that_failed_they_stay_and_the_log_says_so(site: Site) -> None:
    asyncio.run(site.files(a=b"1", b=b"2", c=b"3").stay())
    assert site.reports == [("site-files.kept", Notice(Code.FILES_JOB_FAILED, {"files": 4}))]


def test_of_a_job_that_asked_for_none_nothing_is_told(site: Site) -> None:
    site.asked = False
    asyncio.run(site.files(a=b"1").stay())
    assert site.reports == []


def test_where_the_site_had_room_for_none_it_says_so(site: Site) -> None:
    assert site.collect(huge=b"x" * 30_000_000) == "kept"  # one job gets a quarter
    assert site.kept() is Code.FILES_LEFT_OUT
