"""YAML as FLARE reads it (through OmegaConf), without what could surprise a reviewer.

No tags, no anchors, no name twice, no interpolation. As in OmegaConf ``1e-4`` is a number and a
date is a text.
"""

from __future__ import annotations

import re
from typing import Any

from fedgate.errors import InvalidBundle

_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?
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
    try:
        return yaml.load(text, Loader=_loader(yaml))  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        raise InvalidBundle("not acceptable YAML", why=" ".join(str(error).split())[:300]) from None


def _loader(yaml: Any) -> Any:
    class Strict(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            event = self.peek_event()
            if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None):
                raise yaml.YAMLError("anchors and aliases are not accepted")
            return super().compose_node(parent, index)

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
