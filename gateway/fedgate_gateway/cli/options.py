"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli.output import Format, choose

FormatOption = Annotated[
    Format,
    typer.Option("--format", "-f", callback=choose, help="Tables for people, JSON for programs."),
]
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        envvar="FEDGATE_PROFILE",
        help="How to reach the gateway; default: profile.toml in $FEDGATE_HOME "
        "(~/.config/fedgate).",
        show_default=False,
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="As `job-0vv41dq75y29`.")]
ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", help="The program's TOML file.", show_default=False)
]

SiteFilesOption = Annotated[
    bool,
    typer.Option(
        "--site-files",
        help="Ask for files that workers leave at their sites, too; project and owners decide.",
    ),
]
SiteNamesOption = Annotated[
    str,
    typer.Option(
        help="site-1=hospital-a,…: what the workload calls a site, and what the project calls it."
    ),
]


def split(names: str) -> list[str]:
    """``a,b`` as a list; blanks and empty parts are dropped."""
    return [part.strip() for part in names.split(",") if part.strip()]
