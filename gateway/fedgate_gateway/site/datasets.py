"""Handing a job its datasets, the way the site's configuration says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fedgate.errors import Denied
from fedgate.task import Scalar
from fedgate_gateway.config import Dataset


@dataclass
class HandedOver:
    paths: dict[str, Path] = field(default_factory=dict)
    settings: dict[str, Scalar] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    links: dict[str, Path] = field(default_factory=dict)  # below the working directory -> path

    def place(self, folder: Path) -> None:
        """Link datasets to where workloads of ``folder`` look for them."""
        for name, path in self.links.items():
            link = folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def hand_over(datasets: Mapping[str, Dataset], wanted: Sequence[str]) -> HandedOver:
    """``{path}`` in settings and environment stands for the dataset's path.

    Raises :class:`Denied` for a dataset that the site does not have or that is not there.
    """
    handed = HandedOver()
    for name in wanted:
        dataset = datasets.get(name)
        if dataset is None or not dataset.path.exists():
            raise Denied(f"the dataset {name!r} is not at this site")
        path = str(dataset.path)
        handed.paths[name] = dataset.path
        if dataset.appears_as:
            _claim(handed.links, dataset.appears_as, dataset.path)
        for key, value in dataset.settings.items():
            text = isinstance(value, str)
            handed.settings[key] = value.replace("{path}", path) if text else value  # type: ignore[union-attr]
        for key, text_value in dataset.environment.items():
            handed.environment[key] = text_value.replace("{path}", path)
    return handed


def _claim(links: dict[str, Path], name: str, path: Path) -> None:
    place = PurePosixPath(name)
    for other in map(PurePosixPath, links):
        if place == other or place in other.parents or other in place.parents:
            raise Denied(f"two of the job's datasets appear as {name!r} at this site")
    links[name] = path
