"""`fedgate enrolment`: letting sites and enclaves in."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption
from fedgate_gateway.cli.output import Format

app = typer.Typer(
    name="enrolment",
    help="Let sites and enclaves in, or shut them out (for the gateway's administrator).",
    no_args_is_help=True,
)


class Kind(enum.StrEnum):
    SITE = "site"
    ENCLAVE = "enclave"


KindArgument = Annotated[Kind, typer.Argument(metavar="KIND", help="site or enclave")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME")]


@app.command()
def create(
    kind: KindArgument,
    name: NameArgument,
    hours: Annotated[float, typer.Option(help="How long the token counts.", min=0)] = 1.0,
    file: Annotated[
        Path | None, typer.Option(help="Write the token there (mode 0600) instead of printing it.")
    ] = None,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make a one-time token with which this site or enclave can enrol.

    \b
    fedgate enrolment create site hospital-a --file hospital-a.token
    """
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.pki.private_files import write_private

    with Client(load_profile(profile)) as client:
        made = client.invite(kind.value, name, seconds=hours * 3600)
    if file is not None:
        write_private(file, made["token"].encode() + b"\n")
        made["token"], made["file"] = None, str(file)
    shown = made["token"] or f"the token for {kind.value} {name} is in {file}"
    output.show(format, made, lambda: print(shown))


@app.command()
def revoke(
    kind: KindArgument,
    name: NameArgument,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Make every certificate of a site or enclave worthless; it can enrol again."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    with Client(load_profile(profile)) as client:
        client.revoke_peer(kind.value, name)
    told = {"kind": kind.value, "name": name}
    output.show(format, told, lambda: print(f"{kind.value} {name} is revoked"))
