"""What a job's outputs are called: each kind has one name, which no workload chooses.

Files that a worker left at its site are an output for each site, with the site's name in theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from fedgate.errors import InvalidMessage

#: Kind -> name.
OUTPUT_NAMES: Final[Mapping[str, str]] = {
    "model": "model.safetensors",
    "artifacts": "artifacts.zip",
    "metrics": "metrics.jsonl",
    "log": "coordinator.log",
}
SITE_FILES: Final = "site_files"
_BEFORE, _BEHIND = "site-files.", ".zip"


def site_files_name(site: str) -> str:
    return f"{_BEFORE}{site}{_BEHIND}"


def site_of(name: str) -> str:
    """The site whose files an output is by its name; "" for an output of another kind."""
    if name.startswith(_BEFORE) and name.endswith(_BEHIND):
        return name.removeprefix(_BEFORE).removesuffix(_BEHIND)
    return ""


def check_output(kind: str, name: str, sites: Collection[str] = ()) -> None:
    """Raises :class:`InvalidMessage` for another kind, or another name than its kind has.

    ``sites`` are the job's: files of any other are none of its outputs.
    """
    if kind == SITE_FILES and (site := site_of(name)) and site in sites:
        return
    if OUTPUT_NAMES.get(kind) != name:
        raise InvalidMessage("no output has that kind and name")
