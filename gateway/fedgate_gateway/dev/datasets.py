"""Datasets that every site has, each its own: a template with the site's name in its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidConfig
from fedgate.task import Scalar


@dataclass(frozen=True)
class DatasetTemplate:
    """``{site}`` in ``path`` stands for the site; ``{path}`` in the rest for the dataset's path."""

    name: str
    path: str
    #: Handed to the workload; Flower's ``node_config``.
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def for_site(self, site: str) -> dict[str, Any]:
        """The section ``[datasets.<name>]`` of a site's file; a relative path stays relative."""
        section: dict[str, Any] = {"path": self.path.replace("{site}", site)}
        if self.settings:
            section["settings"] = dict(self.settings)
        if self.environment:
            section["environment"] = dict(self.environment)
        return section


def read_options(
    datasets: Sequence[str], settings: Sequence[str], environment: Sequence[str]
) -> list[DatasetTemplate]:
    """The command line's ``NAME=PATH``, ``NAME:KEY=VALUE`` and ``NAME:VARIABLE=VALUE``.

    Relative paths are taken from the working directory. Raises :class:`InvalidConfig`.
    """
    paths: dict[str, str] = {}
    for text in datasets:
        name, path = _pair(text, "--dataset NAME=PATH")
        paths[name] = str(Path.cwd() / path)
    handed = {name: _values(settings, name, "--dataset-setting", paths) for name in paths}
    variables = {name: _values(environment, name, "--dataset-environment", paths) for name in paths}
    return [
        DatasetTemplate(name, path, settings=handed[name], environment=variables[name])
        for name, path in paths.items()
    ]


def _values(
    texts: Sequence[str], wanted: str, option: str, known: Mapping[str, str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, colon, rest = text.partition(":")
        if not colon or name not in known:
            raise InvalidConfig(f"{option} {text!r}: no --dataset is called {name!r}")
        if name == wanted:
            key, value = _pair(rest, f"{option} NAME:KEY=VALUE")
            found[key] = value
    return found


def _pair(text: str, form: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise InvalidConfig(f"that is not {form}", why=repr(text))
    return key, value
