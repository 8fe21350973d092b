"""What is shipped: one wheel that holds every package, every data file and every entry point."""

import configparser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def tracked(*under: str) -> set[str]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", *under], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {name for name in listing.stdout.split("\0") if name}


def test_the_wheel_holds_every_tracked_file_of_every_package(wheel: zipfile.ZipFile) -> None:
    expected = {name.split("/", 1)[1] for name in tracked(*SOURCES) if (ROOT / name).exists()}
    missing = expected - set(wheel.namelist())
    assert not missing


@pytest.mark.parametrize(
    "suffix",
    [
        "policy/schema.cedarschema",
        "migrations/script.py.mako",
        "versions/0001_first.py",
        "link_pb2.py",
        "link.proto",
    ],
)
def test_data_files_that_code_reads_at_run_time_are_shipped(
    wheel: zipfile.ZipFile, suffix: str
) -> None:
    assert any(name.endswith(suffix) for name in wheel.namelist())


def test_nothing_but_our_packages_and_metadata_is_shipped(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/", 1)[0] for name in wheel.namelist()}
    version = PROJECT["project"]["version"]
    assert tops == {source.split("/")[-1] for source in SOURCES} | {f"fedgate-{version}.dist-info"}


def test_every_declared_entry_point_is_in_the_wheel_and_names_a_shipped_file(
    wheel: zipfile.ZipFile,
) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    shipped = configparser.ConfigParser()
    shipped.optionxform = str  # type: ignore[assignment, method-assign]
    shipped.read_string(wheel.read(path).decode())
    for group, entries in PROJECT["project"]["entry-points"].items():
        assert dict(shipped[group]) == entries
        for target in entries.values():
            module = target.split(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & set(wheel.namelist()), target
    for target in shipped["console_scripts"].values():
        assert f"{target.split(':')[0].replace('.', '/')}.py" in wheel.namelist()


def test_the_licence_is_shipped_whole(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    text = wheel.read(path).decode()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    for section in range(1, 10):
        assert f"\n   {section}. " in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text


def test_one_version_stands_in_code_and_metadata() -> None:
    import fedgate

    assert fedgate.__version__ == PROJECT["project"]["version"]
