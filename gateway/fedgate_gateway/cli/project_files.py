"""Do sites have the project files that enclaves have? No job starts where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Peers = Sequence[Mapping[str, Any]]
_SHOWN = len("sha256:") + 12


def differing(sites: Peers, enclaves: Peers) -> list[str]:
    """A sentence for each linked site and project whose file is no enclave's, as they say."""
    told = []
    for site in sites:
        for project, digest in site["project_files"].items():
            holders = {e["name"]: e["project_files"].get(project) for e in enclaves}
            others = {name: held for name, held in holders.items() if held}
            if others and digest not in others.values():
                theirs = ", ".join(f"{held[:_SHOWN]} at {name}" for name, held in others.items())
                told.append(
                    f"no job of {project} starts at {site['name']}: its project file is another "
                    f"({digest[:_SHOWN]}, but {theirs}); put the same file at all"
                )
    return told
