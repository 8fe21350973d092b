"""A Flower app in a federation, as its submitter, its reviewers and a site's owner see it."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate_flower.adapter import FlowerAdapter
from fedgate_gateway.dev import Federation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
APP = Path(__file__).parent / "apps" / "remembering"
SERIES = ("--config", "fedgate.series=study")


Fedgate = Callable[..., Any]


@pytest.fixture
def fedgate(fedgate: Fedgate, federation: Federation, monkeypatch: pytest.MonkeyPatch) -> Fedgate:
    """The command line with the developer's profile."""
    monkeypatch.setenv("FEDGATE_PROFILE", str(federation.profile_path))
    return fedgate


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[str, str], Path]:
    """``altered(old, new)``: the app with another ``pyproject.toml``."""

    def make(old: str, new: str) -> Path:
        root = tmp_path / "altered"
        shutil.copytree(APP, root, ignore=shutil.ignore_patterns("__pycache__"))
        project = root / "pyproject.toml"
        assert old in project.read_text()
        project.write_text(project.read_text().replace(old, new))
        return root

    return make


def run_to_its_end(fedgate: Fedgate, workload: Path, into: Path, *more: str) -> tuple[str, Any]:
    """The job's name, and what the app wrote down about the rounds its clients remember."""
    ran = fedgate("job", "submit", workload, "--wait", "--output", into, "--format", "json", *more)
    assert ran.code == 0, ran.err
    story = json.loads((into / "artifacts" / "story.json").read_text())
    return ran.json["job"]["id"], [step["rounds"] for step in story if isinstance(step, dict)]


def test_a_directory_and_its_fab_are_one_bundle_and_a_series_is_remembered_at_the_sites(
    fedgate: Fedgate, federation: Federation, tmp_path: Path
) -> None:
    """In round 2 the client of site-2 raises, after it has counted."""
    fab = tmp_path / "app.fab"
    fab.write_bytes(FlowerAdapter().pack(APP))
    digest = "sha256:" + hashlib.sha256(fab.read_bytes()).hexdigest()
    first, counts = run_to_its_end(fedgate, APP, tmp_path / "1", *SERIES)
    assert counts == [1, 1, 2, 3, 3, 4, 4]
    second, counts = run_to_its_end(fedgate, fab, tmp_path / "2", *SERIES)
    assert counts == [5, 5, 6, 7, 7, 8, 8]
    third, counts = run_to_its_end(fedgate, fab, tmp_path / "3")
    assert counts == [1, 1, 2, 3, 3, 4, 4], "a job without a series remembers nothing"
    by_rest = federation.client.submit(fab.read_bytes(), sites=["site-1", "site-2"])
    assert by_rest["bundle"] == digest
    for job in (first, second, third):
        assert digest in fedgate("job", "show", job).out

    listed = fedgate("site", "series", "--config", federation.layout.site("site-1"), "-f", "json")
    (kept,) = listed.json["series"]
    assert (kept["series"], kept["job"]) == ("study", second)
    assert kept["app"] == "fedgate-tests/remembering"
    alone = [federation.layout.state(site) / "state" / third for site in federation.sites]
    deadline = time.monotonic() + 60
    while any(folder.exists() for folder in alone):  # what it remembered goes with its end
        assert time.monotonic() < deadline
        time.sleep(0.05)

    # What the client's exception said is for the owner of its site.
    said = "RuntimeError: after it has counted"
    configs = [federation.layout.site(site) for site in federation.sites]
    shown = [fedgate("site", "logs", "--config", config, third).out for config in configs]
    assert [said in text for text in shown] == [False, True]
    assert said not in fedgate("job", "logs", third).out
    for path in federation.layout.state("gateway").rglob("*"):
        assert not path.is_file() or said.encode() not in path.read_bytes(), path


def test_a_reviewer_sees_what_an_app_runs_and_depends_on(
    fedgate: Fedgate, altered: Callable[[str, str], Path]
) -> None:
    app = altered('"numpy"', '"numpy", "a-package-that-nobody-has>=2"')
    submitted = fedgate("job", "submit", app, "--wait")
    assert submitted.code == 77
    assert "a-package-that-nobody-has>=2 (not installed)" in submitted.err
    (job, *_) = submitted.err.split()
    shown = " ".join(fedgate("job", "show", job).out.split())
    assert "depends on flwr>=1.41,<2,numpy,a-package-that-nobody-has>=2" in shown
    assert "made for flower <2,>=1.41" in shown
    assert "worker remembering.client_app:app" in shown
    # The first denial is one too many: the other site may not have answered yet.
    assert "denied this site does not have what this workload depends on" in shown


def test_an_app_for_another_flower_is_refused_when_it_is_submitted(
    fedgate: Fedgate, altered: Callable[[str, str], Path]
) -> None:
    ran = fedgate("job", "submit", altered("flwr>=1.41,<2", "flwr>=1.99"))
    assert ran.code == 65
    for words in ("the app needs flwr>=1.99", "flwr 1.41.0 runs here", "update the app"):
        assert words in ran.err
