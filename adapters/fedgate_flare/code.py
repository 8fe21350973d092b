"""Does a job bring code? And what does its configuration hand to the classes that it names?

Code is what the job runs beyond FLARE's own classes: files, classes of other packages, and
arguments that name a script, a command or something to be called. A no must be sure, so what is
not known to be harmless counts as code.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from fedgate.errors import InvalidBundle
from fedgate_flare.app_configs import AppConfig, filled_in
from fedgate_flare.config_files import ENDINGS
from fedgate_flare.job_folder import META_NAMES

_FRAMEWORK = "nvflare"
_SIGNATURES = ("__nvfl_sig.json", "__nvfl_submitter.crt")
_HARMLESS = (".md", ".txt")
_MOST_ARGUMENTS, _LONGEST = 2000, 500
#: Names of arguments whose value is run, imported or called.
_RUN = re.compile(
    r"command|script|launch|python|module|callable|func|class|import|shell|exec(?!ut)|entry|"
    r"(?:^|_)(?:fn|cmd|code|path_to_exe|program|pickle)(?:$|_)",
    re.IGNORECASE,
)
#: Values that look like one, whatever their argument's name is.
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?::\w+)?")
_FILE = re.compile(r"\.(?:py[cdwz]?|sh|so|dll|exe|jar|whl|egg|pkl|pickle|bat|ps1)\b", re.IGNORECASE)
_SHELL = re.compile(r"[;&|`$<>\n]|\bpython[0-9.]*\b|(?:^|\s)-[mc]\s")
#: Endings of data whose names look like dotted paths; federated events begin with "fed.".
_DATA = re.compile(r"(?:fed\..*|.*\.(?:npy|npz|csv|json|txt|log|h5|pt|pth|bin|yml|yaml))")


def brings_code(files: Iterable[str], configs: Iterable[AppConfig]) -> bool:
    return any(map(_may_be_code, files)) or any(
        _names_code(config, path, args) for config in configs for path, args in config.components()
    )


def _may_be_code(path: str) -> bool:
    name = PurePosixPath(path)
    if "custom" in name.parts[:-1]:
        return True
    if name.name in (*META_NAMES, *_SIGNATURES) or path.endswith(_HARMLESS):
        return False
    return not (name.parent.name == "config" and path.endswith(ENDINGS))


def _names_code(config: AppConfig, path: str, args: Mapping[str, Any]) -> bool:
    if not _is_of_the_framework(path):
        return True
    return any(
        _RUN.search(name) is not None or _looks_like_code(value)
        for name, value in _leaves(config, args)
        if value not in ("", None, False)
    )


def _is_of_the_framework(path: str) -> bool:
    """Is the class defined where its path says? A module has more names than it defines, as those
    that it imported itself.
    """
    if "." not in path:
        return path.isidentifier()  # FLARE looks such names up among its own classes
    module, _, name = path.rpartition(".")
    package, _, rest = module.partition(".")
    if package != _FRAMEWORK or not all(part.isidentifier() for part in path.split(".")):
        return False
    found = importlib.util.find_spec(_FRAMEWORK)
    for root in (found.submodule_search_locations or ()) if found else ():
        base = Path(root, *rest.split("."))
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                text = file.read_text("utf-8")
                return re.search(rf"^class {name}\b", text, re.MULTILINE) is not None
    return False


def _looks_like_code(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    if _DATA.fullmatch(value):
        return False
    if _DOTTED.fullmatch(value):
        return not value.startswith(f"{_FRAMEWORK}.") or not _is_of_the_framework(value)
    return _FILE.search(value) is not None or _SHELL.search(value) is not None


def arguments(configs: Iterable[AppConfig]) -> tuple[str, ...]:
    """``class: argument = value`` for each plain value that a class gets; long ones are cut.

    Raises :class:`InvalidBundle` for more of them than a policy could look at.
    """
    found = {
        f"{path[:_LONGEST]}: {name} = {json.dumps(value, ensure_ascii=False)}"[:_LONGEST]
        for config in configs
        for path, args in config.components()
        for name, value in _leaves(config, args)
    }
    if len(found) > _MOST_ARGUMENTS:
        raise InvalidBundle(
            "the job's configuration hands too much to its components",
            why=f"{len(found)} values; policies are told of {_MOST_ARGUMENTS} at most",
        )
    return tuple(sorted(found))


def _leaves(config: AppConfig, args: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Plain values below ``args`` with their dotted names, templates filled in. Nested components
    are none: they stand for themselves.
    """
    stack: list[tuple[str, Any]] = [("", dict(args))]
    while stack:
        name, value = stack.pop()
        if isinstance(value, dict):
            if name and any(isinstance(value.get(k), str) for k in ("path", "class_path")):
                continue
            stack += [
                (f"{name}.{key}" if name else str(key), inner) for key, inner in value.items()
            ]
        elif isinstance(value, list):
            stack += [(f"{name}.{index}", inner) for index, inner in enumerate(value)]
        else:
            yield name, filled_in(value, config.config) if isinstance(value, str) else value
