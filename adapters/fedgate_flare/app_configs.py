"""The configuration of each app of a job: where it stands, in which format, and what it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle
from fedgate_flare.config_files import ENDINGS, parse_config
from fedgate_flare.job_folder import ALL, SERVER

NAMES: Mapping[str, str] = {"server": "config_fed_server", "client": "config_fed_client"}
_SCRIPT = "task_script_path"
_TEMPLATE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class AppConfig:
    app: str
    role: str  # "server" or "client"
    path: str  # within the job
    config: Mapping[str, Any]

    def components(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        return components(self.config)


def roles(places: tuple[str, ...]) -> list[str]:
    """What an app that is deployed to these places must be able to do."""
    if ALL in places:
        return ["server", "client"]
    return ["server"] * (SERVER in places) + ["client"] * any(p != SERVER for p in places)


def find_config(paths: Iterable[str], app: str, role: str) -> str:
    """The path of an app's one configuration; raises :class:`InvalidBundle`.

    FLARE searches the folder and its subfolders for the first of several endings; here there must
    be one file only, at the top, so that nobody can hide the one that would win.
    """
    found = [
        path
        for path in paths
        if path.startswith(f"{app}/config/")
        and PurePosixPath(path).name.split(".")[0] == NAMES[role]
    ]
    if not found:
        raise InvalidBundle(
            f"app {app!r} has no {role} configuration", why=f"no {app}/config/{NAMES[role]}.json"
        )
    if len(found) > 1:
        raise InvalidBundle(f"app {app!r} has more than one {role} configuration", why=found[1])
    if found[0] not in {f"{app}/config/{NAMES[role]}{ending}" for ending in ENDINGS}:
        raise InvalidBundle(
            f"the {role} configuration of app {app!r} stands in an unexpected place", why=found[0]
        )
    return found[0]


def read_config(files: BundleTree, app: str, role: str) -> AppConfig:
    path = find_config(files, app, role)
    return AppConfig(app, role, path, parse_config(files.text(path), path))


def components(config: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every ``(class path, arguments)`` in an app's configuration, at any depth."""
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            args = value.get("args")
            args = args if isinstance(args, dict) else {}
            named = [
                path for key in ("path", "class_path") if isinstance(path := value.get(key), str)
            ]
            if not named and "args" in value and isinstance(path := value.get("name"), str):
                named = [path]
            for path in named:
                yield path, args
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def has_trainers(config: Any) -> bool:
    """Does an app train in processes of its own, which reach the site's worker over loopback?"""
    return "external_process" in _modes(config) or any(
        path.rsplit(".", 1)[-1] in ("IPCExchanger", "PTMultiProcessExecutor")
        for path, _ in components(config)
    )


def is_attached(config: Any) -> bool:
    """Does an app wait for a trainer that somebody else starts?"""
    return "attach" in _modes(config)


def streams_logs(config: Any) -> bool:
    """Does an app send its site's log as it is written?"""
    return any(path.rsplit(".", 1)[-1] == "JobLogStreamer" for path, _ in components(config))


def _modes(config: Any) -> set[str]:
    """How trainers run, by what the Client API's executors are told."""
    found = (args.get("execution_mode") for _, args in components(config))
    return {filled_in(mode, config) for mode in found if isinstance(mode, str)}


def check_scripts(files: Iterable[str], found: AppConfig) -> None:
    """Every script is part of the bundle: what people approve is what runs."""
    custom = {p.removeprefix(f"{found.app}/custom/") for p in files if f"{found.app}/custom/" in p}
    for _, args in found.components():
        script = args.get(_SCRIPT)
        if script is None:
            continue
        if not isinstance(script, str) or not script:
            raise InvalidBundle(f"app {found.app!r}: {_SCRIPT!r} must be a file of the app")
        script = filled_in(script, found.config)
        if script_in(custom, script) is None:
            raise InvalidBundle(
                f"app {found.app!r} lacks its script",
                why=f"no custom/{script[:200]}"
                + (": scripts outside the bundle do not run" if script.startswith("/") else ""),
                remedy="give the script's path relative to the folder that job.py runs in",
            )


def filled_in(text: str, config: Mapping[str, Any]) -> str:
    """FLARE's own templates: ``{name}`` stands for a value at the top of the configuration."""
    return _TEMPLATE.sub(
        lambda match: str(config[match[1]]) if isinstance(config.get(match[1]), str) else match[0],
        text,
    )


def script_in(custom: Iterable[str], script: str) -> str | None:
    """The file below ``custom/`` that a script's path means.

    A recipe that is exported with an absolute path has its script there under the end of it.
    """
    names = set(custom)
    if not script.startswith("/"):
        return script if any(f"/{name}".endswith(f"/{script}") for name in names) else None
    return max((n for n in names if script.endswith(f"/{n}")), key=len, default=None)


def with_own_scripts(config: dict[str, Any], custom: Iterable[str]) -> dict[str, Any]:
    """The configuration with absolute paths of scripts replaced by the files of the bundle."""
    names = set(custom)

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: (script_in(names, inner) or inner)
                if key == _SCRIPT and isinstance(inner, str)
                else replace(inner)
                for key, inner in value.items()
            }
        return [replace(inner) for inner in value] if isinstance(value, list) else value

    replaced: dict[str, Any] = replace(config)
    return replaced
