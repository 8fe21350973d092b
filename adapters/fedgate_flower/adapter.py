"""The Flower adapter. Importing it does not import flwr, which takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from packaging.requirements import Requirement

from fedgate.adapter import (
    Adapter,
    Capabilities,
    Federation,
    SiteContext,
    Worker,
    Workload,
)
from fedgate.bundle import BundleTree
from fedgate.manifest import Manifest
from fedgate_flower import fab
from fedgate_flower.capabilities import CAPABILITIES
from fedgate_flower.needs import guard_of
from fedgate_flower.project import PYPROJECT, has_flower_table, read_project
from fedgate_flower.version import SUPPORTED, flwr_requirement, names_a_source_tree
from fedgate_flower.waiting import SETTINGS

#: What Flower itself puts into a FAB, and people can read.
_READABLE = (".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl")


class FlowerAdapter(Adapter):
    """Apps with a ServerApp and a ClientApp, as project directories or FABs."""

    framework: ClassVar[str] = "flower"
    capabilities: ClassVar[Capabilities] = CAPABILITIES
    requires: ClassVar[tuple[str, ...]] = (f"flwr=={SUPPORTED}.*",)

    def recognises(self, tree: BundleTree) -> bool:
        return has_flower_table(tree.get(PYPROJECT, b""))

    def inspect(self, tree: BundleTree) -> Manifest:
        listed = fab.check(tree)
        project = read_project(tree)
        return Manifest(
            framework=self.framework,
            name=project.fab_id,
            version=project.version,
            framework_version=flwr_requirement(project.dependencies),
            entry_points={"coordinator": project.serverapp, "worker": project.clientapp},
            config={**SETTINGS, **project.config},
            dependencies=project.dependencies,
            guard=tuple(sorted({*project.guard, *guard_of(tree)})),
            notes=_notes(tree, project.dependencies, listed=listed),
        )

    def pack(self, root: Path) -> bytes:
        """The FAB that ``flwr build`` makes of the directory, with the same hash."""
        return fab.build(root)

    def coordinate(self, workload: Workload, federation: Federation) -> None:
        from fedgate_flower.coordinator import run_server_app

        run_server_app(workload, federation)

    def worker(self, workload: Workload, site: SiteContext) -> Worker:
        from fedgate_flower.worker import FlowerWorker

        return FlowerWorker(workload, site)


def _notes(tree: BundleTree, dependencies: tuple[str, ...], *, listed: bool) -> tuple[str, ...]:
    notes = [
        f"{text!r} names a folder next to the project: what runs is the flwr installed here"
        for text in dependencies
        if names_a_source_tree(Requirement(text))
    ]
    if not listed:
        notes.append("a plain archive, not a FAB: its digest differs from that of `flwr build`")
    unreadable = sorted(
        path
        for path in tree
        if not path.startswith(fab.INFO)
        and not path.endswith(_READABLE)
        and path.rpartition("/")[2] not in ("LICENSE", ".gitignore")
    )
    if unreadable:
        named = ", ".join(unreadable[:5]) + (", …" if len(unreadable) > 5 else "")
        notes.append(f"{len(unreadable)} files of kinds that a FAB does not hold: {named}")
    return tuple(notes)
