"""`fedgate flower`: letting the `flwr` command talk to the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption
from fedgate_gateway.cli.output import Format

app = typer.Typer(
    name="flower", help="Let the `flwr` command talk to the gateway.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Keeps `connect` a command of its own, although there is no other."""


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
