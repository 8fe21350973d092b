"""`fedgate flower`: letting the `flwr` command talk to the gateway."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption, SiteFilesOption, split
from fedgate_gateway.cli.output import Format
from fedgate_gateway.cli.programs import EofOption, LogFormatOption, LogLevelOption

app = typer.Typer(
    name="flower", help="Let the `flwr` command talk to the gateway.", no_args_is_help=True
)


@app.command()
def connect(
    name: Annotated[str, typer.Argument(help="What `flwr` will call this gateway.")],
    project: Annotated[str, typer.Option(help="Default: the profile's project.")] = "",
    default: Annotated[
        bool, typer.Option("--default", help="The connection that `flwr` uses when none is named.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another connection of this name.")
    ] = False,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write a connection to this gateway into Flower's configuration, and log `flwr` in.

    The gateway signs what comes in this way, in its own name: the project's file must list its key
    under [gateways]. `front-door` signs with your own.

    `flwr` gets a login of its own, which can submit, see and stop jobs. Sealed outputs of its runs
    open with the profile's recipient key. The files are in $FLWR_HOME (~/.flwr).

    \b
    fedgate flower connect hospital --project demo
    flwr run . hospital --stream
    """
    from fedgate.front_door import Connection, Tokens
    from fedgate.plugins import load_front_door
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    loaded = load_profile(profile)
    project = project or loaded.project
    door = load_front_door("flower")
    with Client(loaded) as client:
        recipient = ""
        if loaded.recipient is not None:
            key = loaded.recipient_key().public_raw
            recipient = client.set_recipient(key)["fingerprint"]
        login = client.open_login()
        written = door.connect(
            Connection(
                name=name,
                address=client.address,
                ca=loaded.ca.resolve(),
                project=project,
                tokens=Tokens(login["access_token"], login["refresh_token"]),
                default=default,
                replace=force,
            )
        )
    told = {
        "connection": name,
        "address": client.address,
        "project": project,
        "recipient": recipient,
        "files": [str(path) for path in written],
    }

    def people() -> None:
        output.details(list(told.items()))
        print(f"\nflwr run . {name} --stream")

    output.show(format, told, people)


@app.command(name="front-door")
def front_door(
    name: Annotated[str, typer.Argument(help="What `flwr` will call it.")],
    project: Annotated[str, typer.Option(help="Default: the profile's project.")] = "",
    sites: Annotated[str, typer.Option(help="Of runs that name none: site-1,site-2.")] = "",
    datasets: Annotated[str, typer.Option(help="Of runs that name none: a,b.")] = "",
    site_files: SiteFilesOption = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder for its certificate; default: flower-door beside the profile."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8003,
    default: Annotated[
        bool, typer.Option("--default", help="The connection that `flwr` uses when none is named.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace another connection of this name.")
    ] = False,
    profile: ProfileOption = None,
    log_format: LogFormatOption = "plain",
    log_level: LogLevelOption = "info",
    stop_on_eof: EofOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Run a door for `flwr` on this machine that signs with your key, until SIGTERM or Ctrl-C.

    It listens on loopback only and writes its connection, with a secret that lasts until it stops,
    into Flower's configuration. What `flwr run` sends is signed with the profile's key and
    submitted with its token; outputs are sealed to its recipient key. All other calls go on to the
    gateway.

    \b
    fedgate flower front-door hospital --datasets patients
    flwr run . hospital --stream
    """
    from fedgate.front_door import Order
    from fedgate.plugins import load_front_door
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile, profile_path
    from fedgate_gateway.cli.programs import prepare, run_until_stopped
    from fedgate_gateway.cli.submitter import ProfileSubmitter
    from fedgate_gateway.local_door.program import LocalDoorSettings, run_local_door

    prepare(log_format, log_level)
    order = Order(
        project=project, sites=tuple(split(sites)), datasets=tuple(split(datasets)),
        site_files=site_files,
    )  # fmt: skip
    folder = data or profile_path(profile).parent / "flower-door"
    settings = LocalDoorSettings(name, folder, port, order, default=default, replace=force)

    def opened(address: str, files: Sequence[Path]) -> None:
        told = {"connection": name, "address": address, "files": [str(file) for file in files]}
        output.show(format, told, lambda: output.details(list(told.items())))
        sys.stdout.flush()

    with Client(load_profile(profile)) as client:
        submitter = ProfileSubmitter(client, profile)

        async def program() -> None:
            await run_local_door(load_front_door("flower"), client, submitter, settings, opened)

        run_until_stopped(program, name="flower front door", stop_on_eof=stop_on_eof)
