"""`fedgate gateway`: running the control plane, and the keys that others must know it by."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import ConfigOption, FormatOption
from fedgate_gateway.cli.output import Format
from fedgate_gateway.cli.programs import (
    EofOption,
    LogFormatOption,
    LogLevelOption,
    forked_inspector,
    prepare,
    run_until_stopped,
)

app = typer.Typer(name="gateway")


@app.callback(invoke_without_command=True)
def gateway(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The program's TOML file.", show_default=False),
    ] = None,
    log_format: LogFormatOption = "plain",
    log_level: LogLevelOption = "info",
    stop_on_eof: EofOption = False,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C.

    On its first start it makes its keys, its CA, and an administrator's token in its data folder
    (`admin-token`).

    \b
    fedgate gateway --config gateway.toml --log-format json
    """
    if context.invoked_subcommand is not None:
        return
    prepare(log_format, log_level)
    if config is None:
        raise click.UsageError("Missing option '--config' / '-c'.")
    from fedgate_gateway.config import GatewayConfig, load_config

    loaded = load_config(GatewayConfig, config)
    inspector = forked_inspector(loaded.adapters, loaded.inspection)
    from fedgate_gateway.program import run_gateway

    async def program() -> None:
        await run_gateway(loaded, inspector)

    with closing(inspector):
        run_until_stopped(program, name="gateway", stop_on_eof=stop_on_eof)


@app.command()
def keys(config: ConfigOption, format: FormatOption = Format.TABLE) -> None:
    """The public keys of a gateway that has started once, for those who must know them.

    People pin the CA's fingerprint and the audit log's key in their profiles. The request key signs
    what comes in by front doors inside the gateway; a project that lists it under [gateways] lets
    whoever runs the gateway choose what such jobs do.

    \b
    fedgate gateway keys --config gateway.toml
    """
    from fedgate_gateway.config import GatewayConfig, load_config
    from fedgate_gateway.own_keys import public_keys

    told = public_keys(load_config(GatewayConfig, config).data)
    output.show(format, told, lambda: output.details(list(told.items())))
