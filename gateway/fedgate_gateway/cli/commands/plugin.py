"""`fedgate plugin`: which plugins are installed here, and whether they load."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption
from fedgate_gateway.cli.output import Format

app = typer.Typer(
    name="plugin",
    help="Which plugins are installed here, and whether they load.",
    no_args_is_help=True,
)
GROUPS = ("fedgate.adapters", "fedgate.attesters", "fedgate.verifiers", "fedgate.sandboxes")


@app.command(name="list")
def list_plugins(format: FormatOption = Format.TABLE) -> None:
    """Everything that is installed on this machine; nothing is loaded."""
    from importlib.metadata import entry_points

    rows = [
        {
            "group": group,
            "name": entry.name,
            "distribution": entry.dist.name if entry.dist else "",
            "version": entry.dist.version if entry.dist else "",
            "object": entry.value,
        }
        for group in GROUPS
        for entry in sorted(entry_points(group=group), key=lambda e: e.name)
    ]
    columns = {
        "group": "GROUP", "name": "NAME", "distribution": "DISTRIBUTION", "version": "VERSION",
    }  # fmt: skip
    output.show(format, {"plugins": rows}, lambda: output.table(rows, columns))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="An adapter, as `flower`.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Load an adapter (this runs its code) and show what it can do."""
    from fedgate.plugins import load_adapter

    adapter = load_adapter(name)
    capabilities: list[dict[str, Any]] = [
        {"feature": feature, "grade": str(c.grade), "since": c.since, "note": c.note}
        for feature, c in adapter.capabilities.items()
    ]
    data = {"name": name, "framework": adapter.framework, "capabilities": capabilities}
    columns = {"feature": "FEATURE", "grade": "GRADE", "since": "SINCE", "note": "NOTE"}
    output.show(format, data, lambda: output.table(capabilities, columns))
