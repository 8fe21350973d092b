"""A job's description, read from its files; nothing of the job is imported or run."""

from __future__ import annotations

from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle
from fedgate.manifest import Manifest
from fedgate_flare.job_folder import ALL, META_NAMES, SERVER, JobMeta, locate, read_meta
from fedgate_flare.json_files import parse_object
from fedgate_flare.unsupported import components, refuse_unsupported

FRAMEWORK_VERSION = ">=2.9,<2.10"
FED_EVENTS = "aux_communication:fed.event"
_CONFIGS = {"server": "config_fed_server", "client": "config_fed_client"}
#: Classes that send events from the sites to the server (or the other way) while a job runs.
_EVENT_SENDERS = frozenset({"ConvertToFedEvent", "AnalyticsSender", "TBWriter", "MLflowWriter"})


def inspect_job(tree: BundleTree) -> Manifest:
    """The manifest of a job; raises :class:`InvalidBundle` or a subclass."""
    found = locate(tree)
    if found is None:
        raise InvalidBundle("not a FLARE job", why="there is no meta.json")
    folder, meta_name = found
    _only_json(meta_name)
    files = tree.sub(folder) if folder else tree
    if others := [n for n in META_NAMES if n in files and n != meta_name]:
        raise InvalidBundle("the job describes itself twice", why=f"{meta_name} and {others[0]}")
    meta = read_meta(files.text(meta_name), meta_name)
    entry_points: dict[str, str] = {}
    senders: set[str] = set()
    for app, places in meta.apps.items():
        for role in _roles(places):
            config = _app_config(files, app, role)
            refuse_unsupported(config, f"{app}/{_CONFIGS[role]}.json")
            _check_scripts(files, app, config)
            _describe(entry_points, role, app, config)
            senders |= {p.rsplit(".", 1)[-1] for p, _ in components(config)} & _EVENT_SENDERS
    return Manifest(
        framework="flare",
        name=meta.name,
        framework_version=FRAMEWORK_VERSION,
        entry_points=entry_points,
        min_sites=max(meta.min_clients, len(meta.mandatory)),
        sites=meta.sites,
        frames=(FED_EVENTS,) if senders else (),
        notes=tuple(_notes(meta, files, senders)),
    )


def _only_json(name: str) -> None:
    if not name.endswith(".json"):
        raise InvalidBundle(
            f"{name} is not JSON",
            why="only JSON is read without running code, and FLARE would prefer another file",
            remedy="export the job with FLARE's job API or recipe, which writes JSON",
        )


def _roles(places: tuple[str, ...]) -> list[str]:
    if ALL in places:
        return ["server", "client"]
    return ["server"] * (SERVER in places) + ["client"] * any(p != SERVER for p in places)


def _app_config(files: BundleTree, app: str, role: str) -> dict[str, Any]:
    wanted = f"{app}/config/{_CONFIGS[role]}.json"
    # FLARE searches the folder and its subfolders for the first of several extensions.
    for path in files:
        name = path.rsplit("/", 1)[-1]
        if path.startswith(f"{app}/config/") and name.split(".", 1)[0] == _CONFIGS[role]:
            _only_json(path)
            if path != wanted:
                raise InvalidBundle(f"app {app!r} has more than one {role} configuration", why=path)
    if wanted not in files:
        raise InvalidBundle(f"app {app!r} has no {role} configuration", why=f"{wanted} is missing")
    return parse_object(files.text(wanted), wanted)


def _check_scripts(files: BundleTree, app: str, config: dict[str, Any]) -> None:
    """Every script is part of the bundle: what people approve is what runs."""
    for _, args in components(config):
        script = args.get("task_script_path")
        if script is None:
            continue
        if not isinstance(script, str) or not script:
            raise InvalidBundle(f"app {app!r}: 'task_script_path' must be a file of the app")
        if script.startswith("/"):
            raise InvalidBundle(
                f"app {app!r} would run a script from outside the bundle",
                why=script[:200],
                remedy="give the script's path relative to the folder that job.py runs in",
            )
        if not any(
            p.startswith(f"{app}/custom/") and f"/{p}".endswith(f"/{script}") for p in files
        ):
            raise InvalidBundle(f"app {app!r} lacks its script", why=f"no custom/{script[:200]}")


def _describe(entry_points: dict[str, str], role: str, app: str, config: dict[str, Any]) -> None:
    """What runs, for a reviewer: workflows on the server, executors and scripts at the sites."""
    if role == "server":
        parts = [
            w.get("path") or w.get("class_path") or w.get("name")
            for w in _list(config, "workflows")
            if isinstance(w, dict)
        ]
        key = "coordinator"
    else:
        parts = []
        for each in _list(config, "executors"):
            executor = each.get("executor") if isinstance(each, dict) else None
            if isinstance(executor, dict):
                args = executor.get("args")
                script = args.get("task_script_path") if isinstance(args, dict) else None
                name = executor.get("path") or executor.get("class_path") or executor.get("name")
                parts.append(f"{name} ({script})" if script else name)
        key = "worker"
    if not parts:
        what = "workflows" if role == "server" else "executors"
        raise InvalidBundle(
            f"app {app!r} defines no {what}", remedy="there would be nothing to run"
        )
    text = ", ".join(str(p) for p in parts)
    entry_points[key] = f"{entry_points[key]}; {text}" if key in entry_points else text


def _list(config: dict[str, Any], key: str) -> list[Any]:
    value = config.get(key, [])
    if not isinstance(value, list):
        raise InvalidBundle(f"{key!r} must be a list in the app's configuration")
    return value


def _notes(meta: JobMeta, files: BundleTree, senders: set[str]) -> list[str]:
    notes = []
    code = [p for p in files if "/custom/" in p and p.endswith(".py")]
    if code:
        notes.append(f"brings its own code: {len(code)} Python files")
    if meta.mandatory:
        notes.append("cannot go on without: " + ", ".join(meta.mandatory))
    resources = meta.raw.get("resource_spec")
    if resources:
        if not isinstance(resources, dict):
            raise InvalidBundle("meta.json: 'resource_spec' must be an object")
        notes.append(
            "asks for resources, which Fedgate leaves to each site: " + str(resources)[:200]
        )
    if senders:
        notes.append(
            f"sends events ({', '.join(sorted(senders))}); they are dropped unless a site's guard "
            f"allows the frame {FED_EVENTS}"
        )
    return notes
