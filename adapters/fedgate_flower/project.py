"""A Flower app's ``pyproject.toml``, parsed strictly and without importing flwr."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle, InvalidConfig
from fedgate.guard_rules import read_needs
from fedgate.task import Scalar

PYPROJECT = "pyproject.toml"
_LARGEST = 256 * 1024
_MOST_SETTINGS = 1000
_TABLE = re.compile(rb"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*flwr[ \t]*[.\]]", re.MULTILINE)
_INT64 = 1 << 63
_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


@dataclass(frozen=True)
class FlowerProject:
    """What ``[project]`` and ``[tool.flwr.app]`` say."""

    publisher: str
    name: str
    version: str
    serverapp: str
    clientapp: str
    config: Mapping[str, Scalar]  # flattened: nested keys are joined by dots, as flwr does
    dependencies: tuple[str, ...]
    guard: tuple[str, ...] = ()  # from [tool.fedgate]

    @property
    def fab_id(self) -> str:
        return f"{self.publisher}/{self.name}"

    def run_config(self, overrides: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Defaults with overrides; a key the app does not know is an error, as in flwr."""
        unknown = sorted(set(overrides) - set(self.config))
        if unknown:
            raise InvalidConfig(
                f"the app has no setting {', '.join(map(repr, unknown))}",
                why=f"its settings are: {', '.join(sorted(self.config)) or 'none'}",
                remedy="add it to [tool.flwr.app.config], or leave it out",
            )
        return {**self.config, **overrides}


def has_flower_table(text: bytes) -> bool:
    """Does this pyproject describe a Flower app? Never raises.

    One that is no TOML does if a line of it begins the app's table: its author meant one, and
    :func:`read_project` says what is wrong with it.
    """
    if len(text) > _LARGEST:
        return False
    try:
        return isinstance(tomllib.loads(text.decode())["tool"]["flwr"]["app"], dict)
    except (KeyError, TypeError):
        return False
    except (ValueError, RecursionError):
        return _TABLE.search(text) is not None


def read_project(tree: BundleTree) -> FlowerProject:
    """Parse and check; raises :class:`InvalidBundle` naming the table and key that is wrong."""
    text = tree.text(PYPROJECT)
    if len(text) > _LARGEST:
        raise InvalidBundle(f"{PYPROJECT} is too large", why=f"more than {_LARGEST} bytes")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for a number of 5,000 digits
        raise InvalidBundle(f"{PYPROJECT} is not valid TOML", why=str(error)) from None
    project = _table(data, "project", "[project]")
    app = _table(
        _table(_table(data, "tool", "[tool]"), "flwr", "[tool.flwr]"), "app", "[tool.flwr.app]"
    )
    components = _table(app, "components", "[tool.flwr.app.components]")
    if "agentapp" in components:
        raise InvalidBundle(
            "Flower agent apps are not supported",
            why="[tool.flwr.app.components] has an agentapp",
            remedy="submit an app with a serverapp and a clientapp",
        )
    return FlowerProject(
        publisher=_text(app, "publisher", "[tool.flwr.app]"),
        name=_text(project, "name", "[project]"),
        version=_text(project, "version", "[project]"),
        serverapp=_component(components, "serverapp", tree),
        clientapp=_component(components, "clientapp", tree),
        config=_flatten(app.get("config", {})),
        dependencies=_dependencies(project),
        guard=_guard(data["tool"].get("fedgate", {})),
    )


def _table(data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    if key not in data:
        raise InvalidBundle(f"{PYPROJECT} has no {where} table")
    if not isinstance(data[key], dict):
        raise InvalidBundle(f"{where} in {PYPROJECT} must be a table")
    return data[key]  # type: ignore[no-any-return]


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InvalidBundle(f"{where} in {PYPROJECT} needs {key!r}, a text that is not empty")
    if len(value) > 200 or not value.isprintable():
        raise InvalidBundle(f"{key!r} in {where} is too long or holds control characters")
    return value.strip()


def _component(components: Mapping[str, Any], key: str, tree: BundleTree) -> str:
    where = "[tool.flwr.app.components]"
    reference = _text(components, key, where)
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InvalidBundle(
            f"{key!r} in {where} must look like 'package.module:app'", why=f"got {reference!r}"
        )
    path = match[1].replace(".", "/")
    if f"{path}.py" not in tree and f"{path}/__init__.py" not in tree:
        # Code that is not in the bundle is code that nobody reviewed.
        raise InvalidBundle(
            f"the bundle has no module {match[1]!r}, which {where} names as its {key}",
            why=f"neither {path}.py nor {path}/__init__.py is in it",
            remedy="add the file; note that `flwr build` leaves out test_*.py and ignored files",
        )
    return reference


def _dependencies(project: Mapping[str, Any]) -> tuple[str, ...]:
    value = project.get("dependencies", [])
    if not isinstance(value, list) or any(not isinstance(d, str) for d in value):
        raise InvalidBundle("[project].dependencies must be a list of texts")
    return tuple(value)


def _guard(table: object) -> tuple[str, ...]:
    if not isinstance(table, dict) or not set(table) <= {"guard"}:
        raise InvalidBundle("[tool.fedgate] may hold 'guard', a list of lines")
    return read_needs(table.get("guard", []))


def _flatten(table: object, lead: str = "") -> dict[str, Scalar]:
    where = "[tool.flwr.app.config]"
    if not isinstance(table, dict):
        raise InvalidBundle(f"{where} must be a table")
    flat: dict[str, Scalar] = {}
    for key, value in table.items():
        name = f"{lead}{key}"
        if isinstance(value, dict):
            flat |= _flatten(value, f"{name}.")
        elif type(value) is int and not -_INT64 <= value < _INT64:
            raise InvalidBundle(
                f"{name!r} in {where} is too large", why="a TOML integer has 64 bits"
            )
        elif isinstance(value, bool | int | float | str):
            flat[name] = value
        else:
            raise InvalidBundle(
                f"{name!r} in {where} must be a number, a text or a boolean",
                why=f"it is a {type(value).__name__}",
            )
    if len(flat) > _MOST_SETTINGS:
        raise InvalidBundle(f"{where} has too many settings", why=f"more than {_MOST_SETTINGS}")
    return flat
