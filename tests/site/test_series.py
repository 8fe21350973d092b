"""What a worker remembers for the next job of its series stays at the site, and with its app."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from fedgate.errors import Conflict, Denied, NotFound
from fedgate_gateway.site.series import SeriesFolders, SeriesKey, series_of

KEY = SeriesKey("demo", "ada", "flower", "tests/app", "study")
OTHERS = {
    "series": SeriesKey("demo", "ada", "flower", "tests/app", "study-2"),
    "submitter": SeriesKey("demo", "eve", "flower", "tests/app", "study"),
    "app": SeriesKey("demo", "ada", "flower", "tests/app-study", ""),
    "project": SeriesKey("other", "ada", "flower", "tests/app", "study"),
}


def leave(folders: SeriesFolders, key: SeriesKey, job: str, text: str) -> Path:
    """A job that comes, writes, and ends."""
    state = asyncio.run(folders.take(key, job))
    (state / "kept").write_text(text)
    folders.give_back(job)
    return state


def test_the_next_job_finds_what_the_last_one_left_and_no_other_does(tmp_path: Path) -> None:
    folders = SeriesFolders(tmp_path, days=1)
    leave(folders, KEY, "job-1", "counted to three")
    again = SeriesFolders(tmp_path, days=1)  # after a restart of the agent
    state = asyncio.run(again.take(KEY, "job-2"))
    assert (state / "kept").read_text() == "counted to three"
    for key in OTHERS.values():
        assert list(asyncio.run(again.take(key, "job-3")).iterdir()) == []
    assert state.stat().st_mode & 0o077 == 0


def test_a_job_waits_for_one_that_is_ending_and_not_for_one_that_runs(tmp_path: Path) -> None:
    folders = SeriesFolders(tmp_path, days=1)

    async def both() -> None:
        await folders.take(KEY, "job-1")
        asyncio.get_running_loop().call_later(0.05, folders.give_back, "job-1")
        await folders.take(KEY, "job-2")
        assert await folders.take(KEY, "job-2")  # the same job, once more
        with pytest.raises(Conflict, match="job-2 has its state"):
            await folders.take(KEY, "job-3", seconds=0.05)

    asyncio.run(both())


def test_what_nobody_used_for_days_is_forgotten_unless_a_job_has_it(tmp_path: Path) -> None:
    folders = SeriesFolders(tmp_path, days=2)
    old = leave(folders, KEY, "job-1", "old").parent
    running = asyncio.run(folders.take(OTHERS["submitter"], "job-2")).parent
    for folder in (old, running):
        os.utime(folder / "about.json", (time.time() - 3 * 86400,) * 2)
    asyncio.run(folders.take(OTHERS["project"], "job-3"))
    assert not old.exists()
    assert running.exists()


def test_an_owner_sees_what_is_remembered_and_removes_it(tmp_path: Path) -> None:
    folders = SeriesFolders(tmp_path, days=1)
    state = leave(folders, KEY, "job-1", "x" * 1000)
    leave(folders, OTHERS["submitter"], "job-2", "y")
    leave(folders, OTHERS["project"], "job-3", "z")
    outside = tmp_path / "outside"
    outside.write_bytes(b"o" * 50_000)
    (state / "link").symlink_to(outside)  # a worker may leave anything
    (one,) = [one for one in folders.list() if one.key == KEY]
    assert one.job == "job-1"
    assert 1000 < one.size() < 2000
    assert folders.forget("study") == 3
    assert folders.list() == []
    assert outside.exists()
    with pytest.raises(NotFound, match="'study'"):
        folders.forget("study")


@pytest.mark.parametrize("name", ["../up", "a/b", " ", "-x", "x" * 64, -7, 1.5, True, "ü"])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(Denied):
        series_of({"fedgate.series": name})


def test_a_job_without_a_series_has_none() -> None:
    assert series_of({}) == series_of({"fedgate.series": ""}) == ""
    assert series_of({"fedgate.series": "study.2-b_c"}) == "study.2-b_c"
    assert series_of({"fedgate.series": 2026}) == "2026"
