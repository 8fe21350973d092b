"""`fedgate site logs` and `series`: what workers left, for the owner of the site alone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fedgate_gateway.site.series import SeriesFolders, SeriesKey


@pytest.fixture
def site(tmp_path) -> Path:
    """A site's configuration; its data folder holds the logs of two jobs."""
    (tmp_path / "site.toml").write_text(
        'name = "ward"\ndata = "state"\ngateway = "localhost:1"\napi = "https://localhost:2"\n'
        'policy = "site.cedar"\nprojects = []\n'
    )
    logs = tmp_path / "state" / "logs"
    logs.mkdir(parents=True)
    (logs / "job-new.log").write_bytes(b"one\ntwo \x1b]0;pwned\x07\r\nthree \xff\n")
    (logs / "job-old.log").write_text("before\n")
    os.utime(logs / "job-old.log", (1, 1))
    (tmp_path / "state" / "secret.log").write_text("not a log of a worker")
    return tmp_path / "site.toml"


def test_jobs_with_a_log_are_listed_newest_last(fedgate, site):
    ran = fedgate("site", "logs", "--config", site, "--format", "json")
    assert ran.code == 0
    assert [(log["job"], log["bytes"]) for log in ran.json["logs"]] == [
        ("job-old", 7),
        ("job-new", 28),
    ]
    assert "job-old" in fedgate("site", "logs", "--config", site).out


def test_a_log_is_shown_without_what_a_terminal_would_obey(fedgate, site):
    shown = fedgate("site", "logs", "--config", site, "job-new").out
    assert shown.splitlines()[0] == "one"
    assert "pwned" in shown
    assert not {"\x1b", "\x07", "\r"} & set(shown)


def test_only_the_last_lines_when_asked(fedgate, site):
    assert fedgate("site", "logs", "--config", site, "job-new", "--last", 1).out == "three \ufffd\n"


@pytest.mark.parametrize("job", ["job-other", "../secret", "secret", "/etc/passwd", "."])
def test_nothing_else_is_read(fedgate, site, job):
    ran = fedgate("site", "logs", "--config", site, job)
    assert ran.code == 66
    assert "left a log at this site" in ran.err


def test_what_is_remembered_of_a_series_is_shown_and_forgotten(fedgate, site):
    folders = SeriesFolders(site.parent / "state", days=1)
    key = SeriesKey("demo", "ada", "flower", "tests/app", "study")
    state = asyncio.run(folders.take(key, "job-1"))
    (state / "kept").write_text("12345")
    shown = fedgate("site", "series", "--config", site, "--format", "json").json["series"]
    assert [(one["series"], one["submitter"], one["job"], one["bytes"]) for one in shown] == [
        ("study", "ada", "job-1", 5)
    ]
    assert "study" in fedgate("site", "series", "--config", site).out
    assert "study" not in fedgate("site", "series", "--config", site, "--forget", "study").out
    assert fedgate("site", "series", "--config", site, "--forget", "study").code == 66
