"""A job for sites of other names: what upstream calls ``site-1`` is somebody's hospital here.

Names stand in ``meta.json`` and, as values or keys of their own, in the apps' configurations (who
begins a cycle, who holds the labels). Code of the job is left as it is: it asks FLARE who it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle, InvalidMessage
from fedgate_flare.app_configs import find_config, roles
from fedgate_flare.config_files import parse_config
from fedgate_flare.job_folder import ALL, SERVER, locate, read_meta
from fedgate_flare.signatures import CERTIFICATE, SIGNATURES

#: Keys of ``meta.json`` in which sites are named.
_PLACES = ("deploy_map", "mandatory_clients", "resource_spec", "launcher_spec")


def rename_sites(
    tree: BundleTree, names: Mapping[str, str], *, required: bool = True
) -> BundleTree:
    """The same job with its sites called otherwise; ``names``: the job's name -> the project's.

    Raises :class:`InvalidMessage` for names that are not in the job, if they are ``required``, or
    would make two sites one, and :class:`InvalidBundle` for a job that is signed.
    """
    found = locate(tree)
    if found is None:
        raise InvalidBundle("not a FLARE job", why="there is no meta.json")
    if any(PurePosixPath(path).name in (SIGNATURES, CERTIFICATE) for path in tree):
        raise InvalidBundle(
            "the sites of a signed job cannot be called otherwise",
            why="whoever signed it signed the names as well",
            remedy="leave --site-names out, or submit the job unsigned",
        )
    folder, meta_name = found
    files = tree.sub(folder) if folder else tree
    meta = read_meta(files.text(meta_name), meta_name)
    if taken := {SERVER, ALL} & {*names, *names.values()}:
        raise InvalidMessage(f"{min(taken)!r} is no name of a site")
    renaming = _Renaming(names)
    raw = dict(meta.raw)
    raw |= {key: renaming.of(raw[key]) for key in _PLACES if key in raw}
    changed = {meta_name: raw}
    for app, places in meta.apps.items():
        for role in roles(places):
            path = find_config(files, app, role)
            changed[path] = renaming.of(parse_config(files.text(path), path))
    renaming.refuse_two_for_one()
    if required:
        renaming.require_all(meta.sites)
    elif not renaming.seen:
        return tree
    texts = {folder + path: json.dumps(value, indent=2).encode() for path, value in changed.items()}
    return BundleTree({**tree.files, **texts})  # JSON is also YAML and HOCON


class _Renaming:
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self.seen: set[str] = set()
        self._taken: set[str] = set()  # names of the project's that it holds before

    def of(self, value: Any) -> Any:
        """A configuration's value, with the names in it that stand for themselves replaced."""
        if isinstance(value, str):
            if value in self._names:
                self.seen.add(value)
            elif value in self._names.values():
                self._taken.add(value)
            return self._names.get(value, value)
        if isinstance(value, list):
            return [self.of(each) for each in value]
        if isinstance(value, dict):
            return {self.of(key): self.of(inner) for key, inner in value.items()}
        return value

    def refuse_two_for_one(self) -> None:
        if taken := self._taken & {self._names[name] for name in self.seen}:
            raise InvalidMessage(
                f"the job has a site {min(taken)!r} already",
                remedy="call both of them otherwise, or this one by another name",
            )

    def require_all(self, known: tuple[str, ...]) -> None:
        if unknown := [name for name in self._names if name not in self.seen]:
            raise InvalidMessage(
                f"the job names no site {', '.join(map(repr, unknown))}",
                why=f"it names: {', '.join(known) or 'none, and is for all sites'}",
                remedy="say --site-names only for names that its meta.json or configurations hold",
            )
