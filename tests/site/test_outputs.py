"""What a job's worker left is kept for the site's owner: bounded, private, and for some days."""

from __future__ import annotations

import os
import time

import pytest

from fedgate.errors import NotFound
from fedgate_gateway.site.outputs import SiteOutputs

KIB = 1024


@pytest.fixture
def scratch(tmp_path):
    def make(**files: int):
        folder = tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}"
        for name, size in files.items():
            path = folder / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * size)
        return folder

    return make


def names(outputs, job):
    return [file.name for file in outputs.of(job).files()]


def test_files_are_kept_with_their_folders_and_can_be_copied(tmp_path, scratch):
    outputs = SiteOutputs(tmp_path / "data", limit=100 * KIB, days=1)
    outputs.keep("job-1", scratch(psi__intersection_txt=10, curve_png=20))
    assert names(outputs, "job-1") == ["curve.png", "psi/intersection.txt"]
    outputs.copy("job-1", tmp_path / "mine")
    assert (tmp_path / "mine/psi/intersection.txt").stat().st_size == 10
    for folder in (tmp_path / "data/outputs", tmp_path / "data/outputs/job-1/files"):
        assert folder.stat().st_mode & 0o077 == 0
    assert outputs.of("job-1").files()[0].path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_followed_out_of_the_folder_and_caches_stay_behind(tmp_path, scratch):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("k")
    folder = scratch(result_txt=1)
    (folder / "link").symlink_to(secret / "key")
    (folder / "there").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    (folder / ".cache").mkdir()
    (folder / ".cache/big").write_text("x")
    outputs = SiteOutputs(tmp_path / "data", limit=100 * KIB, days=1)
    outputs.keep("job-1", folder)
    assert names(outputs, "job-1") == ["result.txt"]
    assert (secret / "key").read_text() == "k"


def test_one_job_gets_a_quarter_and_pushes_nobody_out(tmp_path, scratch):
    outputs = SiteOutputs(tmp_path / "data", limit=100 * KIB, days=1)
    outputs.keep("job-0", scratch(a=20 * KIB))
    outputs.keep("greedy", scratch(a=24 * KIB, b=24 * KIB, c=1))
    assert names(outputs, "greedy") == ["a", "c"]
    assert outputs.of("greedy").left_out == 1
    for number in range(4):
        outputs.keep(f"more-{number}", scratch(a=20 * KIB))
    assert names(outputs, "job-0") == ["a"]
    assert sum(f.size for one in outputs.list() for f in one.files()) <= 100 * KIB


def test_old_ones_go_and_a_site_may_keep_none(tmp_path, scratch):
    outputs = SiteOutputs(tmp_path / "data", limit=100 * KIB, days=1)
    outputs.keep("job-1", scratch(a=1))
    about = tmp_path / "data/outputs/job-1/about.json"
    os.utime(about, (time.time() - 2 * 86400,) * 2)
    outputs.keep("job-2", scratch(a=1))
    assert [one.job for one in outputs.list()] == ["job-2"]
    with pytest.raises(NotFound, match="job-1"):
        outputs.of("job-1")
    nothing = SiteOutputs(tmp_path / "other", limit=0, days=1)
    nothing.keep("job-1", scratch(a=1))
    assert nothing.list() == []
