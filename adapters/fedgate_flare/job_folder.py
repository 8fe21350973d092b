"""The layout of a FLARE job: where it starts, and what its ``meta.json`` says.

A job folder holds ``meta.json`` and one folder for each app, with ``config/`` and ``custom/``.
An archive holds it at its root or inside a single top-level folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedgate.errors import InvalidBundle
from fedgate_flare.config_files import parse_config

META_NAMES = ("meta.json", "meta.yml", "meta.yaml", "meta.conf")
SERVER = "server"
ALL = "@ALL"
_APP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SITE_NAME = re.compile(r"[A-Za-z0-9_-]{1,127}")
_MAX_SITES = 10_000


@dataclass(frozen=True)
class JobMeta:
    """What we need of ``meta.json``; ``raw`` is all of it."""

    name: str
    apps: Mapping[str, tuple[str, ...]]  # app -> sites, or (ALL,)
    min_clients: int
    mandatory: tuple[str, ...]
    raw: Mapping[str, Any]

    def app_of(self, participant: str) -> str | None:
        """The app deployed to a site (or to "server"), if any."""
        for app, sites in self.apps.items():
            if ALL in sites or participant in sites:
                return app
        return None

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites the job names itself; empty when it is for all."""
        named = [s for sites in self.apps.values() for s in sites if s not in (SERVER, ALL)]
        return tuple(named)


def locate(paths: Iterable[str]) -> tuple[str, str] | None:
    """``(folder, meta file name)`` of the job among POSIX paths; None when there is none."""
    known = set(paths)
    tops = {p.split("/", 1)[0] for p in known}
    folders = [""] + ([f"{tops.copy().pop()}/"] if len(tops) == 1 else [])
    for folder in folders:
        for name in META_NAMES:
            if folder + name in known:
                return folder, name
    return None


def read_meta(text: str, path: str = "meta.json") -> JobMeta:
    """Parse ``meta.json`` strictly; raises :class:`InvalidBundle`."""
    raw = parse_config(text, path)
    apps = _deploy_map(raw.get("deploy_map"), path)
    meta = JobMeta(
        name=_name(raw.get("name"), path),
        apps=apps,
        min_clients=_count(raw.get("min_clients", 1), path),
        mandatory=_mandatory(raw.get("mandatory_clients") or [], path),
        raw=raw,
    )
    _check_sites(meta, path)
    return meta


def _name(name: Any, path: str) -> str:
    if name is None:
        return "flare-job"
    if not isinstance(name, str) or not 0 < len(name) <= 255:
        raise InvalidBundle(f"{path}: 'name' must be a short text")
    return name


def _count(value: Any, path: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])  # FLARE accepts numbers written as text
    if type(value) is not int or not 1 <= value <= _MAX_SITES:
        raise InvalidBundle(f"{path}: 'min_clients' must be a number from 1 to {_MAX_SITES}")
    return value


def _mandatory(value: Any, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or any(not _is_site(v) for v in value):
        raise InvalidBundle(f"{path}: 'mandatory_clients' must be a list of site names")
    return tuple(value)


def _is_site(value: Any) -> bool:
    return isinstance(value, str) and _SITE_NAME.fullmatch(value) is not None


def _deploy_map(value: Any, path: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value:
        raise InvalidBundle(
            f"{path}: 'deploy_map' must map apps to sites",
            remedy="export the job with FLARE's job API or recipe",
        )
    found: dict[str, tuple[str, ...]] = {}
    for app, given in value.items():
        if _APP_NAME.fullmatch(app) is None or ".." in app:
            raise InvalidBundle(f"{path}: bad name of an app in 'deploy_map'", why=repr(app[:80]))
        places = _places(given, app, path) if isinstance(given, dict) else given
        if not isinstance(places, list):
            raise InvalidBundle(f"{path}: the places of app {app!r} must be a list")
        found[app] = tuple(site for place in places for site in _places(place, app, path))
    return found


def _places(place: Any, app: str, path: str) -> list[str]:
    names = [place]
    if isinstance(place, dict):
        if len(place) != 1 or not set(place) <= {"sites", "targets"}:
            raise InvalidBundle(f"{path}: unknown keys in the places of app {app!r}")
        names = next(iter(place.values()))
    if not isinstance(names, list):
        raise InvalidBundle(f"{path}: the places of app {app!r} must be lists of names")
    if any(not (_is_site(n) or str(n).upper() == ALL) for n in names):
        raise InvalidBundle(f"{path}: bad name of a site for app {app!r}", why=repr(names)[:120])
    return [ALL if n.upper() == ALL else n for n in names]


def _check_sites(meta: JobMeta, path: str) -> None:
    places = [site for sites in meta.apps.values() for site in sites]
    if not places:
        raise InvalidBundle(f"{path}: 'deploy_map' names no site")
    if ALL in places:
        if len(places) > 1:
            raise InvalidBundle(f"{path}: with {ALL} no other site may be named in 'deploy_map'")
        return
    if SERVER not in places:
        raise InvalidBundle(f"{path}: 'deploy_map' has no app for the server")
    if len(set(places)) != len(places):
        raise InvalidBundle(f"{path}: 'deploy_map' gives a site more than one app")
    sites = set(meta.sites)
    if len(sites) < meta.min_clients:
        raise InvalidBundle(
            f"{path}: fewer sites than the job needs",
            why=f"{len(sites)} in 'deploy_map', 'min_clients' is {meta.min_clients}",
        )
    if missing := set(meta.mandatory) - sites:
        raise InvalidBundle(f"{path}: mandatory sites without an app", why=", ".join(missing))
