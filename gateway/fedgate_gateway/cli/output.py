"""What commands print: tables for people, JSON with stable keys for programs."""

from __future__ import annotations

import enum
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

#: Everything that moves a cursor, sets a title or reorders text; tab and newline stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Format(enum.StrEnum):
    TABLE = "table"
    JSON = "json"


_chosen: ContextVar[Format] = ContextVar("fedgate_format", default=Format.TABLE)


def choose(format: Format) -> Format:
    """Remember what ``--format`` says, so that errors are shown alike."""
    _chosen.set(format)
    return format


def chosen() -> Format:
    return _chosen.get()


def show(format: Format, data: Any, people: Callable[[], None]) -> None:
    """Print ``data`` as one JSON document, or let ``people`` print it for people."""
    if format is Format.JSON:
        print_json(data)
    else:
        people()


def print_json(data: Any) -> None:
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: logs and reasons come from strangers."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Aligned columns: key of a row -> heading. Nothing is cut, so it can be searched."""
    lines = [list(columns.values())]
    lines += [[_cell(row.get(key)) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def details(pairs: Sequence[tuple[str, Any]]) -> None:
    """One thing, a line for each of its properties; empty ones are left out."""
    shown = [(name, _cell(value)) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print(f"{name.ljust(width)}  {value}")


def size(count: float) -> str:
    """Bytes for people: ``1.2 MB`` (decimal, as networks and disks are sold)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return printable(", ".join(f"{k}={_cell(v)}" for k, v in value.items())) or "-"
        case list() | tuple():
            return printable(",".join(str(item) for item in value)) or "-"
    return " ".join(printable(str(value)).split("\n")) or "-"
