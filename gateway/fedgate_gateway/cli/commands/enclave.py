"""`fedgate enclave`: running an enclave host."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import click
import typer

from fedgate_gateway.cli.enrolling import (
    EnrolmentTokenFileOption,
    EnrolmentTokenOption,
    enrol_program,
)
from fedgate_gateway.cli.options import ConfigOption, FormatOption
from fedgate_gateway.cli.output import Format
from fedgate_gateway.cli.programs import EofOption, LogFormatOption, LogLevelOption

app = typer.Typer(name="enclave", help="Run an enclave host, or enrol one.")


@app.callback(invoke_without_command=True)
def enclave(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The program's TOML file.")
    ] = None,
    log_format: LogFormatOption = "plain",
    log_level: LogLevelOption = "info",
    stop_on_eof: EofOption = False,
) -> None:
    """Run an enclave host until SIGTERM or Ctrl-C.

    \b
    fedgate enclave --config enclave.toml
    fedgate enclave enroll --config enclave.toml --token-file token
    """
    if context.invoked_subcommand is not None:
        return
    from fedgate_gateway.cli.programs import forked_inspector, prepare, run_until_stopped

    prepare(log_format, log_level)
    if config is None:
        raise click.UsageError("--config is needed to run an enclave host", context)
    from fedgate_gateway.config import EnclaveConfig, load_config

    loaded = load_config(EnclaveConfig, config)
    inspector = forked_inspector(loaded.adapters, loaded.inspection)
    from fedgate_gateway.enclave.host import EnclaveHost

    async def program() -> None:
        await EnclaveHost(loaded, inspector).run()

    with closing(inspector):
        run_until_stopped(program, name=f"enclave {loaded.name}", stop_on_eof=stop_on_eof)


@app.command()
def enroll(
    config: ConfigOption,
    token: EnrolmentTokenOption = "",
    token_file: EnrolmentTokenFileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Turn a one-time token into this enclave host's keys and certificate, in its data folder."""
    from fedgate_gateway.config import EnclaveConfig, load_config

    loaded = load_config(EnclaveConfig, config)
    enrol_program("enclave", loaded, token=token, file=token_file, format=format)
