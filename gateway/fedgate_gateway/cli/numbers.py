"""The numbers of a job's rounds, from the output that holds all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fedgate_gateway.cli.output import printable

#: Rows that people are shown; the file has the others.
_ROWS = 30


def last_numbers(path: Path) -> list[dict[str, Any]]:
    """The latest value under each name, as rows of a table; lines that do not parse are skipped.

    Names and values are the workload's.
    """
    latest: dict[str, dict[str, Any]] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            told = json.loads(line)
            for name, value in told["metrics"].items():
                shown = {"metric": printable(name)[:64], "value": value, "round": told["round"]}
                latest[name] = {**shown, "of": printable(str(told["of"]))}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return list(latest.values())[-_ROWS:]
