"""`fedgate token`: access tokens of the gateway's API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import ConfigOption, FormatOption, ProfileOption, split
from fedgate_gateway.cli.output import Format

app = typer.Typer(
    name="token", help="Access tokens of the gateway's API (for its administrator).",
    no_args_is_help=True,
)  # fmt: skip
SUBMITTER = "jobs:read,jobs:write,sites:read"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who will use it; shown as a job's submitter.")],
    scopes: Annotated[
        str,
        typer.Option(help="Of jobs:read, jobs:write, sites:read, audit:read, metrics:read, admin."),
    ] = SUBMITTER,
    projects: Annotated[str, typer.Option(help="Only these projects, a,b; default: all.")] = "",
    days: Annotated[float | None, typer.Option(help="How long it counts.", min=0)] = None,
    file: Annotated[
        Path | None, typer.Option(help="Write the token there (mode 0600) instead of printing it.")
    ] = None,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make a token. It is shown this once.

    \b
    fedgate token create alice --projects demo --days 30 --file alice.token
    """
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.pki.private_files import write_private

    with Client(load_profile(profile)) as client:
        made = client.create_token(
            name,
            split(scopes),
            projects=split(projects) or None,
            seconds=None if days is None else days * 86400,
        )
    if file is not None:
        write_private(file, made["token"].encode() + b"\n")
        made["token"], made["file"] = None, str(file)
    shown = made["token"] or f"{made['record']['id']} is in {file}"
    output.show(format, made, lambda: print(shown))


@app.command(name="list")
def list_tokens(profile: ProfileOption = None, format: FormatOption = Format.TABLE) -> None:
    """All tokens ever made, without their secrets."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    with Client(load_profile(profile)) as client:
        tokens = client.tokens()
    columns = {
        "id": "TOKEN", "name": "NAME", "scopes": "SCOPES", "projects": "PROJECTS",
        "created": "CREATED", "expires": "EXPIRES", "revoked": "REVOKED",
    }  # fmt: skip
    output.show(format, {"tokens": tokens}, lambda: output.table(tokens, columns))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Its id, as `tok-…`.")],
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make a token worthless from now on."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    with Client(load_profile(profile)) as client:
        client.revoke_token(token)
    output.show(format, {"revoked": token}, lambda: print(f"{token} is revoked"))


@app.command()
def recover(
    config: ConfigOption,
    new_ca: Annotated[
        bool,
        typer.Option(
            "--new-ca", help="Its CA is gone for good: revoke all peers, so that it makes another."
        ),
    ] = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """On the gateway's own machine, while it is stopped: a new administrator's token.

    \b
    fedgate token recover --config gateway.toml
    """
    from fedgate_gateway.config import GatewayConfig, load_config
    from fedgate_gateway.control.recovery import recover as recover_gateway

    recovered = recover_gateway(load_config(GatewayConfig, config), new_ca=new_ca)

    def people() -> None:
        print(f"an administrator's token is in {recovered.token_file}")
        if new_ca:
            print(f"{recovered.revoked_peers} peers were revoked; each has to enrol again")

    output.show(format, recovered.to_dict(), people)
