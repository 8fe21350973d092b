"""`fedgate gateway`: running the control plane."""

from __future__ import annotations

from fedgate_gateway.cli.options import ConfigOption
from fedgate_gateway.cli.programs import (
    EofOption,
    LogFormatOption,
    LogLevelOption,
    prepare,
    run_until_stopped,
)


def gateway(
    config: ConfigOption,
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
    prepare(log_format, log_level)
    from fedgate_gateway.config import GatewayConfig, load_config
    from fedgate_gateway.program import run_gateway

    loaded = load_config(GatewayConfig, config)

    async def program() -> None:
        await run_gateway(loaded)

    run_until_stopped(program, name="gateway", stop_on_eof=stop_on_eof)
