"""What works of each framework, from the grades that its adapter gives itself."""

from __future__ import annotations

from fedgate import Adapter
from fedgate_flare.adapter import FlareAdapter
from fedgate_flower.adapter import FlowerAdapter

_INTRO = """\
# What works of each framework

<!-- made by docs/generate.py from the adapters' capabilities; do not edit -->

*full*: works as in the framework itself. *partial*: works with the limit that the note names.
*unsupported*: refused, at submission where that can be seen, with a sentence that says so. An
installed plugin shows its own with `fedgate plugin check NAME`.
"""
_ADAPTERS: tuple[tuple[str, type[Adapter]], ...] = (
    ("Flower 1.41", FlowerAdapter),
    ("NVIDIA FLARE 2.9", FlareAdapter),
)


def page() -> str:
    parts = [_INTRO]
    for title, adapter in _ADAPTERS:
        rows = ["| feature | grade | since | note |", "|---|---|---|---|"]
        rows += [
            f"| {name.replace('_', ' ').replace('-', ' ')} | {found.grade.value} "
            f"| {found.since or '–'} | {found.note} |"
            for name, found in adapter.capabilities.items()
        ]
        parts.append(f"## {title}\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)
