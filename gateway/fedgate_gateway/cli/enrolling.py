"""Enrolling a program from its configuration file, with a one-time token."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from fedgate.errors import NotFound
from fedgate_gateway.cli import output
from fedgate_gateway.cli.output import Format

if TYPE_CHECKING:
    from fedgate_gateway.config import EnclaveConfig, SiteConfig

TOKEN_VARIABLE = "FEDGATE_ENROLMENT_TOKEN"  # noqa: S105 - a variable's name

EnrolmentTokenOption = Annotated[
    str,
    typer.Option(
        "--token",
        envvar=TOKEN_VARIABLE,
        help="The one-time token; other users can see it here, so prefer --token-file.",
        show_default=False,
    ),
]
EnrolmentTokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", help="A file with the one-time token, or - for standard input."),
]


def enrol_program(
    kind: str,
    config: SiteConfig | EnclaveConfig,
    *,
    token: str,
    file: Path | None,
    format: Format,
) -> None:
    """Enrol, and print the identity key that the project's file must name."""
    from fedgate_gateway.pki.credentials import load_or_create_identity
    from fedgate_gateway.pki.enrol import enrol

    name, data = config.name, config.data
    enrol(
        config.api, _token(token, file), kind, name, data,
        proxy=config.proxy, api_ca=config.api_ca,
    )  # fmt: skip
    public = load_or_create_identity(data).public_key().public_bytes_raw()
    told = {"kind": kind, "name": name, "identity": base64.b64encode(public).decode()}

    def people() -> None:
        print(f"{kind} {name} is enrolled; its keys are in {data}")
        print("The project's file names it by this identity key:")
        print(f'  identity = "{told["identity"]}"')

    output.show(format, told, people)


def _token(token: str, file: Path | None) -> str:
    if file is None:
        if not token:
            raise click.UsageError(f"give the one-time token: --token-file, or {TOKEN_VARIABLE}")
        return token.strip()
    if os.fspath(file) == "-":
        return sys.stdin.readline().strip()
    try:
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"cannot read the token file {file}", why=str(error)) from error
