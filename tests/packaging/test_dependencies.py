"""Dependencies are declared where they are imported, and pinned in constraints.txt."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"fedgate", "fedgate_gateway", "fedgate_flower", "fedgate_flare", "fedgate_proto"}
#: Extra -> source roots that may import what it brings.
EXTRAS = {"flower": "adapters/fedgate_flower", "flare": "adapters/fedgate_flare"}


def imported(root: Path) -> dict[str, Path]:
    """Top-level names that modules below ``root`` import, wherever in the file it happens."""
    found: dict[str, Path] = {}
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            found |= {name.split(".")[0]: path for name in names}
    return found


def declared(*extras: str) -> set[str]:
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    names = {canonicalize_name(Requirement(line).name) for line in lines}
    if extras:  # an adapter may use what its own framework requires
        for name in list(names):
            if name in {"flwr", "nvflare"}:
                names |= {canonicalize_name(Requirement(r).name) for r in requires(name) or []}
    return names


@pytest.mark.parametrize(
    ("root", "extras"),
    [
        ("core", ()),
        ("gateway", ()),
        ("proto", ()),
        ("adapters/fedgate_flower", ("flower",)),
        ("adapters/fedgate_flare", ("flare",)),
    ],
)
def test_what_is_imported_is_declared(root: str, extras: tuple[str, ...]) -> None:
    providers = packages_distributions()
    allowed = declared(*extras)
    undeclared = {}
    for name, path in imported(ROOT / root).items():
        if name in sys.stdlib_module_names or name in OURS:
            continue
        dists = {canonicalize_name(d) for d in providers.get(name, [])}
        if name == "google":
            dists = {"protobuf"}
        if not dists & allowed and not _optional(name):
            undeclared[name] = str(path.relative_to(ROOT))
    assert not undeclared


def _optional(name: str) -> bool:
    """Frameworks' own options that are looked for and never required."""
    return name == "torch"


def pins() -> dict[str, str]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            found[canonicalize_name(name)] = version
    return found


def test_constraints_are_names_and_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line


def test_every_declared_dependency_is_pinned_within_its_range() -> None:
    lines = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        lines += extra
    for line in lines:
        requirement = Requirement(line)
        version = pins().get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} has no line in constraints.txt"
        assert requirement.specifier.contains(version), f"{line} is pinned to {version}"


def test_no_dependency_brings_torch_or_our_own_packages() -> None:
    assert not {"torch", "fedgate", "fedgate-plain"} & set(pins())
