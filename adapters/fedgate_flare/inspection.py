"""A job's description, read from its files; nothing of the job is imported or run."""

from __future__ import annotations

from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle
from fedgate.manifest import Manifest
from fedgate_flare import code, code_frames, demands, guarding, needs, signatures
from fedgate_flare.app_configs import AppConfig, check_scripts, is_attached, read_config, roles
from fedgate_flare.job_folder import META_NAMES, JobMeta, locate, read_meta
from fedgate_flare.unsupported import refuse_unsupported


def inspect_job(tree: BundleTree) -> Manifest:
    """The manifest of a job; raises :class:`InvalidBundle` or a subclass."""
    found = locate(tree)
    if found is None:
        raise InvalidBundle("not a FLARE job", why="there is no meta.json")
    folder, meta_name = found
    files = tree.sub(folder) if folder else tree
    if others := [n for n in META_NAMES if n in files and n != meta_name]:
        raise InvalidBundle("the job describes itself twice", why=f"{meta_name} and {others[0]}")
    meta = read_meta(files.text(meta_name), meta_name)
    demands.refuse_unknown(meta.raw)
    signers = signatures.signers_of(files)
    entry_points: dict[str, str] = {}
    configs: list[AppConfig] = []
    for app, places in meta.apps.items():
        for role in roles(places):
            config = read_config(files, app, role)
            refuse_unsupported(config)
            check_scripts(files, config)
            _describe(entry_points, config)
            configs.append(config)
    own = code_frames.read(files)
    frames = {*needs.frames_of(configs), *own.frames, *guarding.frames_of(meta.raw)}
    notes = (*_notes(meta, files, configs, signers), *own.notes())
    return Manifest(
        framework="flare",
        name=meta.name,
        framework_version=demands.required_version(files),
        entry_points=entry_points,
        min_sites=max(meta.min_clients, len(meta.mandatory)),
        sites=meta.sites,
        mandatory=meta.mandatory,
        resources=demands.resources(meta.raw),
        frames=tuple(sorted(frames)),
        spare_frames=needs.spare_frames(configs, frames),
        attaches=any(is_attached(c.config) for c in configs if c.role == "client"),
        guard=guarding.guard_of(meta.raw, configs),
        brings_code=code.brings_code(files, configs),
        components=tuple(sorted(_classes(configs))),
        arguments=code.arguments(configs),
        notes=notes,
    )


def _describe(entry_points: dict[str, str], found: AppConfig) -> None:
    """What runs, for a reviewer: workflows on the server, executors and scripts at the sites."""
    config, app = found.config, found.app
    if found.role == "server":
        parts = [_class_of(w) for w in _list(config, "workflows") if isinstance(w, dict)]
        key = "coordinator"
    else:
        parts = []
        for each in _list(config, "executors"):
            executor = each.get("executor") if isinstance(each, dict) else None
            if isinstance(executor, dict):
                args = executor.get("args")
                args = args if isinstance(args, dict) else {}
                script = args.get("task_script_path") or args.get("command")
                name = _class_of(executor)
                parts.append(f"{name} ({script})" if script else name)
        key = "worker"
    if not parts:
        what = "workflows" if found.role == "server" else "executors"
        raise InvalidBundle(
            f"app {app!r} defines no {what}", remedy="there would be nothing to run"
        )
    text = ", ".join(str(p) for p in parts)
    entry_points[key] = f"{entry_points[key]}; {text}" if key in entry_points else text


def _class_of(component: dict[str, Any]) -> Any:
    return component.get("path") or component.get("class_path") or component.get("name")


def _list(config: Any, key: str) -> list[Any]:
    value = config.get(key, [])
    if not isinstance(value, list):
        raise InvalidBundle(f"{key!r} must be a list in the app's configuration")
    return value


def _classes(configs: list[AppConfig]) -> set[str]:
    """Every class that FLARE will load because a configuration names it."""
    found = set()
    for config in configs:
        for path, args in config.components():
            found.add(path[:500])
            if isinstance(named := args.get("decomposers"), list):
                found |= {str(each)[:500] for each in named}
    return found


def _notes(
    meta: JobMeta, files: BundleTree, configs: list[AppConfig], signers: list[str]
) -> list[str]:
    notes = [f"signed, and unaltered since, by {signer}" for signer in signers]
    own = [p for p in files if "/custom/" in p and p.endswith(".py")]
    if own:
        notes.append(f"brings its own code: {len(own)} Python files")
    if any(is_attached(config.config) for config in configs if config.role == "client"):
        notes.append("waits at each site for a trainer that its data owner starts")
    if meta.mandatory:
        notes.append("cannot go on without: " + ", ".join(meta.mandatory))
    notes += demands.resource_notes(meta.raw)
    senders = needs.sends_events(configs)
    if senders and needs.FED_EVENTS not in needs.frames_of(configs):
        notes.append(
            f"may send events ({', '.join(senders)}) that nobody needs; they are dropped unless a "
            f"site's guard allows the frame {needs.FED_EVENTS}"
        )
    return notes
