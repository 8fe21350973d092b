"""What a job's outputs are called: each kind has one name, which no workload chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedgate.errors import InvalidMessage

#: Kind -> name.
OUTPUT_NAMES: Final[Mapping[str, str]] = {
    "model": "model.safetensors",
    "artifacts": "artifacts.zip",
    "metrics": "metrics.jsonl",
    "log": "coordinator.log",
}


def check_output(kind: str, name: str) -> None:
    """Raises :class:`InvalidMessage` for another kind, or another name than its kind has."""
    if OUTPUT_NAMES.get(kind) != name:
        raise InvalidMessage("no output has that kind and name")
