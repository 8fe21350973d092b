"""Reading Flower projects without running them, and refusing each kind of damage with its name."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fedgate.bundle import Bundle, BundleTree, pack_files
from fedgate.errors import BundleTooLarge, FedgateError, InvalidBundle, UnsupportedVersion
from fedgate.plugins import recognise
from fedgate_flower import version
from fedgate_flower.adapter import FlowerAdapter

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower-breast-cancer"

GOOD = """
[project]
name = "probe"
version = "1.2.3"
dependencies = ["flwr[simulation]>=1.26.0", "numpy"]

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "probe.server:app"
clientapp = "probe.client:wrapped.app"

[tool.flwr.app.config]
rounds = 3
train.lr = 0.5
train.fast = true
name = "x"
"""


def tree(pyproject: str = GOOD, **changes: bytes | None) -> BundleTree:
    files: dict[str, bytes | None] = {
        "pyproject.toml": pyproject.encode(),
        "probe/server.py": b"app = 1\nraise SystemExit('this must never run')",
        "probe/client/__init__.py": b"wrapped = 1\nraise SystemExit('this must never run')",
        **{k.replace("__", "/"): v for k, v in changes.items()},
    }
    return BundleTree({k: v for k, v in files.items() if v is not None})


def test_a_project_is_read_without_importing_flwr_or_its_own_code() -> None:
    """In a process of its own: here, other tests have imported flwr."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fedgate.bundle import read_directory\n"
        "from fedgate.plugins import load_adapter\n"
        "adapter = load_adapter('flower')\n"
        f"tree = read_directory(Path({str(EXAMPLE)!r}))\n"
        "assert adapter.recognises(tree)\n"
        "manifest = adapter.inspect(tree)\n"
        "assert manifest.name == 'fedgate-examples/breast-cancer', manifest\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in ('flwr', 'numpy', 'breast_cancer')]\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_manifest_says_what_the_project_says() -> None:
    manifest = FlowerAdapter().inspect(tree())
    assert manifest.framework == "flower"
    assert (manifest.name, manifest.version) == ("tests/probe", "1.2.3")
    assert manifest.framework_version == ">=1.26.0"
    assert manifest.entry_points == {
        "coordinator": "probe.server:app", "worker": "probe.client:wrapped.app",
    }  # fmt: skip
    own = {"rounds": 3, "train.lr": 0.5, "train.fast": True, "name": "x"}
    assert manifest.config == {**own, "fedgate.node-wait-seconds": 120.0, "fedgate.series": ""}
    assert manifest.dependencies == ("flwr[simulation]>=1.26.0", "numpy")


def test_a_reviewer_is_told_about_files_that_a_fab_does_not_hold() -> None:
    manifest = FlowerAdapter().inspect(tree(probe__native=b"\x7fELF"))
    assert any("probe/native" in note for note in manifest.notes)
    assert any("flwr build" in note for note in manifest.notes)


@pytest.mark.parametrize(
    "pyproject",
    [b"", b"\xff\xfe", b"[project]\nname='x'", b"tool = 3", b"a = [" * 2000, b"#" * 300_000],
)
def test_other_files_are_not_recognised_and_do_not_raise(pyproject: bytes) -> None:
    assert not FlowerAdapter().recognises(BundleTree({"pyproject.toml": pyproject}))
    assert not FlowerAdapter().recognises(BundleTree({"readme": b""}))


def without(line: str) -> str:
    assert line in GOOD
    return GOOD.replace(line, "")


DAMAGE = {
    "no toml": ("[project", "not valid TOML"),
    "no app": ("[project]\nname='x'", r"no \[tool\] table"),
    "app is no table": ("[project]\n[tool.flwr]\napp = 3", "must be a table"),
    "no project": (
        GOOD.replace("[project]", "[other]"), r"no \[project\] table",
    ),
    "no name": (without('name = "probe"'), "'name'"),
    "no version": (without('version = "1.2.3"'), "'version'"),
    "no publisher": (without('publisher = "tests"'), "'publisher'"),
    "empty publisher": (GOOD.replace('"tests"', '" "'), "'publisher'"),
    "publisher with control characters": (GOOD.replace('"tests"', '"a\\u001b[2Jb"'), "control"),
    "no serverapp": (without('serverapp = "probe.server:app"'), "'serverapp'"),
    "no clientapp": (without('clientapp = "probe.client:wrapped.app"'), "'clientapp'"),
    "no components": (
        GOOD.replace("[tool.flwr.app.components]", "[tool.flwr.app.parts]"), "components",
    ),
    "agent app": (GOOD.replace("serverapp =", "agentapp ="), "agent apps"),
    "no attribute": (GOOD.replace("probe.server:app", "probe.server"), "package.module:app"),
    "code as reference": (GOOD.replace("probe.server:app", "os:system('x')"), "package.module"),
    "path as reference": (GOOD.replace("probe.server:app", "../x:app"), "package.module"),
    "module not in the bundle": (GOOD.replace("probe.server:app", "os:system"), "no module 'os'"),
    "date in config": (GOOD.replace("rounds = 3", "rounds = 2024-01-01"), "'rounds'"),
    "list in config": (GOOD.replace("rounds = 3", "rounds = [3]"), "'rounds'"),
    "too much config": (GOOD + "\n".join(f"k{i} = 1" for i in range(1001)), "too many"),
    "dependencies no list": (
        GOOD.replace('["flwr[simulation]>=1.26.0", "numpy"]', '"flwr"'), "dependencies",
    ),
    "dependency malformed": (GOOD.replace('"numpy"', '"numpy >>> 1"'), "malformed"),
    "flwr twice": (GOOD.replace('"numpy"', '"flwr>=1"'), "more than once"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_project_is_refused_by_the_name_of_its_damage(damage: str) -> None:
    pyproject, words = DAMAGE[damage]
    with pytest.raises(InvalidBundle, match=words):
        FlowerAdapter().inspect(tree(pyproject))


def test_a_project_without_pyproject_or_module_is_refused() -> None:
    with pytest.raises(InvalidBundle, match=r"pyproject\.toml"):
        FlowerAdapter().inspect(BundleTree({"x": b""}))
    with pytest.raises(InvalidBundle, match=r"no module 'probe\.server'"):
        FlowerAdapter().inspect(tree(**{"probe__server.py": None}))


@pytest.mark.parametrize(
    "dependency",
    [
        "flwr>=1.42,<2", "flwr==1.40.*", "flwr<1.20", "flwr-nightly", "FLWR>=2",
        "flwr @ https://example.org/flwr.whl",
    ],
)  # fmt: skip
def test_an_app_for_another_flower_is_told_so(dependency: str) -> None:
    with pytest.raises(UnsupportedVersion) as refused:
        FlowerAdapter().inspect(tree(GOOD.replace("flwr[simulation]>=1.26.0", dependency)))
    assert "flwr" in refused.value.remedy or "flwr" in refused.value.why


@pytest.mark.parametrize(
    ("dependency", "specifier"),
    [
        ("flwr", ""), ("flwr>=1.8,<2.0", "<2.0,>=1.8"), ("flwr~=1.41", "~=1.41"),
        ('flwr==1.2; python_version < "3"', ""), ("flwr[rest] @ {root:parent:uri}", ""),
    ],
)  # fmt: skip
def test_an_app_that_our_flower_satisfies_is_accepted(dependency: str, specifier: str) -> None:
    pyproject = GOOD.replace('"flwr[simulation]>=1.26.0"', f"'{dependency}'")
    manifest = FlowerAdapter().inspect(tree(pyproject))
    assert manifest.framework_version == specifier
    assert any("folder next to" in note for note in manifest.notes) == ("{root" in dependency)


#: The releases of Flower that the adapter works with, and some that it does not.
PASS, FAIL = ("1.41.0", "1.41.1", "1.41.0rc1"), ("1.28.0", "1.40.0", "1.42.0", "2.0.0", None)


@pytest.mark.parametrize("installed", [*PASS, *FAIL])
def test_these_releases_of_flower_pass_and_others_are_refused_in_a_sentence(
    installed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "installed", lambda: installed)
    (needed,) = FlowerAdapter.requires
    if installed in PASS:
        assert version.require_supported() == installed
        assert Requirement(needed).specifier.contains(installed, prereleases=True)
        return
    with pytest.raises(FedgateError, match=r"flwr 1\.41, not with|not installed") as refused:
        version.require_supported()
    assert "\n" not in str(refused.value)
    assert installed is None or not Requirement(needed).specifier.contains(installed)


def test_the_release_that_is_installed_here_is_one_of_them() -> None:
    assert version.installed() in PASS


# -- FABs ----


def fab(**changes: bytes | None) -> bytes:
    """A FAB with a proper list, some of whose files are then exchanged, added or removed."""
    files = dict(tree().files)
    lines = [f"{p},{hashlib.sha256(c).hexdigest()},{len(c) * 8}" for p, c in files.items()]
    files[".info/CONTENT"] = "\n".join(lines).encode()
    for path, content in changes.items():
        name = path.replace("__", "/")
        if content is None:
            del files[name]
        else:
            files[name] = content
    return pack_files(files)


def test_a_fab_with_a_true_list_is_accepted() -> None:
    bundle = Bundle.read(fab())
    assert isinstance(recognise(bundle.tree), FlowerAdapter)
    assert FlowerAdapter().inspect(bundle.tree).notes == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probe__server.py": b"evil"}, "is not what"),
        ({"probe__server.py": b"app = 1\nraise SystemExit('this must never RUN')"}, "is not what"),
        ({"probe__hidden.py": b"evil"}, "does not list"),
        ({"probe__server.py": None}, "does not hold"),
        ({".info__CONTENT": b""}, "malformed"),
        ({".info__CONTENT": b"pyproject.toml,abc"}, "malformed"),
        ({".info__CONTENT": b"a,b,-8"}, "malformed"),
        ({".info__CONTENT": b"a,b,8\na,b,8"}, "twice"),
        ({".info__CONTENT": b"\xff"}, "UTF-8"),
    ],
)
def test_a_fab_that_differs_from_its_list_is_refused(
    changes: dict[str, bytes | None], words: str
) -> None:
    with pytest.raises(InvalidBundle, match=words):
        FlowerAdapter().inspect(Bundle.read(fab(**changes)).tree)


def test_an_app_beyond_flowers_size_limit_is_refused() -> None:
    noise = os.urandom(11 * 1024 * 1024)
    with pytest.raises(BundleTooLarge):
        FlowerAdapter().inspect(tree(**{"probe__data.md": noise}))
    zeros = bytes(11 * 1024 * 1024)  # large, but not as an archive
    FlowerAdapter().inspect(tree(**{"probe__data.md": zeros}))


# -- packing ----


def flwr_build(root: Path, out: Path) -> bytes:
    """What the real command makes of ``root``."""
    out.mkdir()
    flwr = Path(sys.executable).with_name("flwr")
    done = subprocess.run(
        [flwr, "build", "--app", root],
        cwd=out, env={**os.environ, "HOME": str(out), "FLWR_TELEMETRY_ENABLED": "0"},
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.fab")
    return built.read_bytes()


@pytest.mark.e2e
def test_a_directory_becomes_the_very_fab_that_flwr_build_makes(tmp_path: Path) -> None:
    root = tmp_path / "probe"
    files = {
        **tree(GOOD + '\n[tool.flwr.federations]\ndefault = "x"\n').files,
        ".gitignore": b"secret*\n",
        "secret.py": b"x",
        "data.csv": b"1,2",
        "probe/test_it.py": b"",
        "README.md": "Umlaut ä\r\n".encode(),
        "probe/__pycache__/x.pyc": b"x",
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "link.py").symlink_to("/etc/hostname")
    ours = FlowerAdapter().pack(root)
    assert ours == flwr_build(root, tmp_path / "out")
    bundle = Bundle.read(ours)
    assert bundle.digest == "sha256:" + hashlib.sha256(ours).hexdigest()
    assert sorted(bundle.tree) == [
        ".info/CONTENT", "README.md", "probe/client/__init__.py", "probe/server.py",
        "pyproject.toml",
    ]  # fmt: skip
    assert FlowerAdapter().inspect(bundle.tree).name == "tests/probe"


def test_a_directory_that_flower_cannot_build_is_refused_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'")
    with pytest.raises(InvalidBundle, match=r"tool\.flwr\.app"):
        FlowerAdapter().pack(tmp_path)
