"""What a job asks of the places it runs at: FLARE versions, resources, launchers.

Each is understood and told to reviewers, or refused with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from fedgate.bundle import BundleTree
from fedgate.errors import InvalidBundle, UnsupportedVersion

#: The versions of FLARE that this adapter runs, as a requirement.
SUPPORTED = ">=2.9,<2.10"
#: Amounts and names of resources beyond this are mistakes.
_MOST, _NAME = 1e15, 100
_REQUIREMENT = re.compile(r"^\s*nvflare\s*(?:\[[^\]]*\])?\s*([^;#]*)", re.IGNORECASE)


def required_version(files: BundleTree) -> str:
    """The FLARE version that the bundle's requirements ask for; raises if it is not ours."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    for path in sorted(files):
        if not PurePosixPath(path).name.startswith("requirements") or not path.endswith(".txt"):
            continue
        for line in files[path][:65536].decode("utf-8", "replace").splitlines():
            match = _REQUIREMENT.match(line)
            if match is None or not match[1].strip():
                continue
            asked = match[1].strip()
            try:
                fits = SpecifierSet(asked, prereleases=True)
            except InvalidSpecifier:
                continue  # "nvflare-something", or a URL: no statement about the version
            if not any(f"2.9.{patch}" in fits for patch in range(100)):
                raise UnsupportedVersion(
                    "the job is for another version of FLARE",
                    why=f"{path} asks for nvflare{asked}; this adapter runs 2.9",
                    remedy="export the job again with FLARE 2.9",
                )
            return asked
    return SUPPORTED


def resource_notes(meta: Mapping[str, Any]) -> list[str]:
    """Sentences for reviewers; raises :class:`InvalidBundle` for what cannot be met."""
    notes = []
    for site, asked in _by_site(meta, "resource_spec"):
        if "docker" in asked or "k8s" in asked:
            raise InvalidBundle(
                f"the job asks {site} for a container",
                why="at Fedgate a site decides itself in what sandbox and environment jobs run",
                remedy="remove docker and k8s from resource_spec",
            )
        if asked:
            notes.append(
                f"asks {site} for resources: "
                + ", ".join(f"{k}={v}" for k, v in sorted(asked.items()))[:200]
            )
    for site, asked in _by_site(meta, "launcher_spec"):
        for mode, settings in asked.items():
            if mode != "process":
                raise InvalidBundle(
                    f"the job wants to be launched by {str(mode)[:40]!r} at {site}",
                    why="Fedgate starts jobs itself, in the sandbox that the site chose",
                    remedy="remove it from launcher_spec, or leave only 'process'",
                )
            notes.append(f"launcher 'process' at {site} is what Fedgate does: {settings!s:.100}")
    return notes


def resources(meta: Mapping[str, Any]) -> dict[str, float]:
    """``site:resource`` -> amount; raises :class:`InvalidBundle` for what is no amount."""
    found: dict[str, float] = {}
    for site, asked in _by_site(meta, "resource_spec"):
        for name, amount in asked.items():
            if isinstance(amount, bool) or not isinstance(amount, int | float):
                raise InvalidBundle(
                    f"the job asks {site} for an amount of {str(name)[:80]!r} that is no number",
                    why=f"{amount!r:.80}",
                    remedy="write a number into resource_spec, as num_of_gpus: 1",
                )
            if not 0 <= amount < _MOST or len(str(name)) > _NAME:
                raise InvalidBundle(f"no site can have {str(amount)[:40]} of {str(name)[:80]!r}")
            found[f"{site}:{name}"] = float(amount)
    return found


def _by_site(meta: Mapping[str, Any], key: str) -> list[tuple[str, Mapping[str, Any]]]:
    spec = meta.get(key)
    if spec is None:
        return []
    if not isinstance(spec, dict) or any(not isinstance(v, dict) for v in spec.values()):
        raise InvalidBundle(f"meta.json: {key!r} must map sites to objects")
    return sorted(spec.items())


def refuse_unknown(meta: Mapping[str, Any]) -> None:
    """What FLARE's parent processes would have done for the job and Fedgate does in its own way."""
    if meta.get("edge_method"):
        raise InvalidBundle(
            "edge jobs cannot run through Fedgate", why="their devices are no sites of a project"
        )
    scope = meta.get("scope")
    if scope not in (None, "", "public", "default"):
        raise InvalidBundle(
            f"the job asks for the privacy scope {str(scope)[:80]!r}",
            why="FLARE lets the submitter choose a scope; at Fedgate each site's policy and egress "
            "guard hold for every job",
            remedy="remove 'scope' from meta.json, and agree with the data owners on their guard",
        )
