"""YAML as FLARE reads it (through OmegaConf), without what could surprise a reviewer.

No tags, no anchors, no name twice, no interpolation. As in OmegaConf ``1e-4`` is a number and a
date is a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fedgate.errors import InvalidBundle

#: A configuration of a job has a few kilobytes; what a node costs is bounded with their number.
_MAX_BYTES = 256 * 1024
_MAX_NODES = 20_000
MAX_DEPTH = 64
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


def read_yaml(text: str) -> Any:
    """Raises :class:`InvalidBundle`."""
    try:
        import yaml
    except ImportError:
        raise InvalidBundle(
            "YAML cannot be read here",
            why="PyYAML is not installed",
            remedy="install fedgate[flare] where jobs are inspected, or submit JSON",
        ) from None
    if "${" in text:
        raise InvalidBundle("interpolation (${...}) is not accepted", remedy="write the value out")
    if len(text) > _MAX_BYTES:
        raise InvalidBundle("too large for YAML", why=f"more than {_MAX_BYTES} characters")
    # libyaml where PyYAML was built with it: ten times as fast.
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_events(yaml, yaml.parse(text, Loader=base))
        return yaml.load(text, Loader=_loader(yaml, base))  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        raise InvalidBundle("not acceptable YAML", why=" ".join(str(error).split())[:300]) from None


def _check_events(yaml: Any, events: Iterable[Any]) -> None:
    """Before anything is made of them."""
    nodes = depth = 0
    for event in events:
        if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError("anchors and aliases are not accepted")
        if getattr(event, "tag", None) not in (None, "!"):
            raise yaml.YAMLError("tags are not accepted")
        nodes += isinstance(event, yaml.events.NodeEvent)
        depth += isinstance(event, yaml.events.CollectionStartEvent)
        depth -= isinstance(event, yaml.events.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested too deeply: more than {MAX_DEPTH} levels")
        if nodes > _MAX_NODES:
            raise yaml.YAMLError(f"too much of it: more than {_MAX_NODES} values")


def _loader(yaml: Any, base: Any) -> Any:
    class Strict(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [key.value for key, _ in node.value]
            if len(set(map(str, names))) != len(names):
                raise yaml.YAMLError("a name appears twice in one object")
            return super().construct_mapping(node, deep=deep)

    Strict.yaml_implicit_resolvers = {
        first: [
            (tag, pattern) for tag, pattern in rules if not tag.endswith((":timestamp", ":float"))
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Strict.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Strict
