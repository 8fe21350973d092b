"""Folders that a killed agent left go once no job can need them."""

from __future__ import annotations

import os
from pathlib import Path

from fedgate_gateway.site.job_states import JobStates

DAY = 86400.0


def kept(data: Path, job: str, written: float) -> Path:
    file = data / "state" / job / "deep" / "weights"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"w")
    for path in (file, file.parent, file.parent.parent):
        os.utime(path, (written, written))
    return file


def test_a_jobs_state_is_kept_for_days_after_it_was_last_written(tmp_path: Path) -> None:
    now = [10 * DAY]
    states = JobStates(tmp_path, 7, lambda: now[0])
    old, used, fresh = (kept(tmp_path, job, now[0]) for job in ("old", "used", "fresh"))
    now[0] += 6.9 * DAY
    states.forget_old(())
    assert old.exists()
    os.utime(fresh, (now[0], now[0]))
    now[0] += 0.2 * DAY
    states.forget_old(("used",))
    assert (old.parent.parent.exists(), used.exists(), fresh.exists()) == (False, True, True)


def test_links_are_neither_followed_nor_in_the_way(tmp_path: Path) -> None:
    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    folder = kept(tmp_path, "old", DAY).parent.parent
    (folder / "link").symlink_to(elsewhere)
    os.utime(folder / "link", (DAY, DAY), follow_symlinks=False)
    os.utime(folder, (DAY, DAY))
    JobStates(tmp_path, 7, lambda: 100 * DAY).forget_old(())
    assert (folder.exists(), elsewhere.exists()) == (False, True)
    JobStates(tmp_path / "nothing", 7).forget_old(())
