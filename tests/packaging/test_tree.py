"""The checked-in tree: generated files agree with their sources, and no machine shows through."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Places that exist on somebody's machine only. Spelt in parts, so that this file passes too.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.-])/(?:root|home)/\w",
            r"(?<![\w.~-])/" + r"work/\w",
            r"/(?:Users)/\w",
            r"\.py" + r"env/",
            r"site-" + r"packages/(?!\.\.\.)\w+/",
            r"farm" + r"-\w",
            r"file:///" + "opt/",
        ]
    )
)


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_path_of_somebodys_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(text.splitlines(), 1)
            if FOREIGN.search(line)
        ]
    assert not found


@pytest.mark.parametrize(
    ("line", "foreign"),
    [
        ("data = " + "/ro" + "ot/v/dev/bin/python", True),
        ("see " + "/wo" + "rk/main/core", True),
        ("the path / of a route", False),
        ("framework/adapter", False),
    ],
)
def test_the_search_for_machine_paths_finds_them(line: str, foreign: bool) -> None:
    assert bool(FOREIGN.search(line)) is foreign


def test_generated_protobuf_modules_are_what_their_source_gives(tmp_path: Path) -> None:
    subprocess.run(
        ["sh", str(ROOT / "proto" / "generate.sh"), str(tmp_path)],
        env={**os.environ, "PYTHON": sys.executable},
        check=True,
        timeout=60,
    )
    generated = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*"))
    assert generated
    for path in generated:
        fresh = (tmp_path / path).read_text()
        assert (ROOT / "proto" / path).read_text() == fresh, f"run `make proto`: {path} is stale"
    for proto in (ROOT / "proto").rglob("*.proto"):
        assert proto.with_name(proto.stem + "_pb2.py").relative_to(ROOT / "proto") in generated


def test_scripts_can_be_started() -> None:
    for name in (".ci/run", ".ci/find-python", "proto/generate.sh"):
        assert os.access(ROOT / name, os.X_OK), name


def test_every_make_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "lint", "bench", "docs", "format", "clean"):
        assert re.search(rf"^{target}:.*## \w", text, re.MULTILINE), target
