"""`fedgate flare`: letting FLARE's own tools in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import (
    FormatOption,
    ProfileOption,
    SiteFilesOption,
    SiteNamesOption,
    split,
)
from fedgate_gateway.cli.output import Format
from fedgate_gateway.cli.programs import EofOption, LogFormatOption, LogLevelOption

app = typer.Typer(name="flare", help="Let FLARE's own tools in.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `front-door` a command of its own, although there is no other."""


@app.command(name="front-door")
def front_door(
    data: Annotated[
        Path,
        typer.Option(help="Folder for its keys, jobs and opened results; made with mode 0700."),
    ],
    kit: Annotated[
        Path | None,
        typer.Option(help="Where the admin start-up kits go; default: `kits` in the data folder."),
    ] = None,
    admin: Annotated[
        list[str] | None,
        typer.Option(
            "--admin",
            metavar="NAME@DOMAIN",
            help="Who gets a kit; repeatable, also later. Default: admin@fedgate.local.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Name or address that the kits lead to. A loopback one is bound to loopback; "
            "with any other it listens on all interfaces."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0: a free one at first, the same ever after.")
    ] = 8002,
    project: Annotated[str, typer.Option(help="Of all its jobs; default: the profile's.")] = "",
    sites: Annotated[str, typer.Option(help="site-1,site-2; default: the job's or all.")] = "",
    site_names: SiteNamesOption = "",
    datasets: Annotated[str, typer.Option(help="Names of the sites' datasets, a,b.")] = "",
    min_sites: Annotated[int | None, typer.Option(help="Fewer fail a job.", min=1)] = None,
    task_seconds: Annotated[
        float | None, typer.Option(help="How long one task of a site may take.")
    ] = None,
    site_files: SiteFilesOption = False,
    profile: ProfileOption = None,
    log_format: LogFormatOption = "plain",
    log_level: LogLevelOption = "info",
    stop_on_eof: EofOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Run a door for the FLARE API and `nvflare job`, until SIGTERM or Ctrl-C.

    It runs FLARE's own server, with no FLARE client behind it: jobs that come in are submitted to
    the gateway with the profile's token, their results opened with its recipient key, and kept in
    the data folder for download. So run it where that profile may be used, and give a kit to those
    who may use it too. What was under way when it stopped is picked up when it starts again.

    \b
    fedgate flare front-door --data ./door --kit ./kits --admin ada@example.org
    nvflare job submit -j ./my-job --startup-kit ./kits/ada@example.org
    """
    from fedgate.front_door import Order
    from fedgate.plugins import load_side_door
    from fedgate.side_door import DoorSettings, OpenDoor
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.cli.programs import prepare, stop_event
    from fedgate_gateway.cli.site_names import parse_site_names
    from fedgate_gateway.cli.submitter import ProfileSubmitter

    prepare(log_format, log_level)
    order = Order(
        project=project,
        sites=tuple(split(sites)),
        datasets=tuple(split(datasets)),
        min_sites=min_sites,
        task_seconds=task_seconds,
        site_names=parse_site_names(site_names),
        site_files=site_files,
    )
    settings = DoorSettings(
        data=data, kits=kit, host=host, port=port, people=tuple(admin or ()), order=order
    )

    def ready(door: OpenDoor) -> None:
        told = {"address": door.address, "kits": {who: str(at) for who, at in door.kits.items()}}
        rows = [{"who": who, "kit": str(at)} for who, at in door.kits.items()]

        def people() -> None:
            print(f"open at {door.address}")
            output.table(rows, {"who": "ADMIN", "kit": "START-UP KIT"})

        output.show(format, told, people)
        sys.stdout.flush()

    door = load_side_door("flare")
    with Client(load_profile(profile)) as client:
        submitter = ProfileSubmitter(client, profile)
        door.serve(submitter, settings, ready=ready, stop=stop_event(stop_on_eof=stop_on_eof))
