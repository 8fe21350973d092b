"""The command `fedgate`. Commands import what they need when they run, so that help is quick.

Exit codes: 0 done; 1 the workload failed or the job was cancelled; 2 wrong usage; 65 a damaged
bundle, model or message; 66 not found; 69 something needed is not there; 70 internal; 73 conflict;
75 too late; 76 a seal or evidence is broken; 77 denied or no valid token; 78 wrong configuration;
130 interrupted. They are the ``exit_code`` of the errors in :mod:`fedgate.errors`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import click
import typer

from fedgate.errors import FedgateError
from fedgate_gateway.cli import failure

EXIT_INTERRUPTED = 130
#: Each is a module of :mod:`fedgate_gateway.cli.commands`, in the order of the help.
_GROUPS = (
    "job", "site", "audit", "policy", "plugin", "token", "enrolment", "profile", "enclave",
    "flower", "flare", "gateway",
)  # fmt: skip

_HELP = """Run federated-learning workloads of Flower and FLARE through one governed pipeline.

\b
A whole federation on this machine, and a job in it:
  fedgate dev --dir ./federation --sites 3
  export FEDGATE_PROFILE=./federation/profile.toml
  fedgate job submit examples/flare-digits/job --datasets digits --wait

\b
Exit codes: 0 done, 1 workload failed, 2 usage, 65 damaged input, 66 not found, 69 unavailable,
73 conflict, 75 too late, 76 seal or evidence broken, 77 denied, 78 configuration, 130 interrupted.
"""


def build(first: str = "") -> typer.Typer:
    """The whole command line; of the groups only ``first`` where it is one.

    Describing all fifty commands takes a tenth of a second, which each program would pay.
    """
    app = typer.Typer(
        name="fedgate",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_root)
    for name in [first] if first in _GROUPS else _GROUPS:
        app.add_typer(import_module(f"fedgate_gateway.cli.commands.{name}").app)
    if first not in _GROUPS:
        from fedgate_gateway.cli.commands.dev import dev

        app.command("dev")(dev)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from fedgate import __version__

        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; never raises."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(args)
    except click.ClickException as error:
        failure.show_usage(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except FedgateError as error:
        failure.show(error)
        return error.exit_code
    except BrokenPipeError:  # `fedgate job list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        gc.enable()  # a program that did not get as far as to run has left it off


def _run(args: list[str]) -> int:
    command = typer.main.get_command(build(args[0] if args else ""))
    try:
        code = command.main(args, prog_name="fedgate", standalone_mode=False)
        sys.stdout.flush()
    except (FedgateError, click.ClickException, click.Abort, BrokenPipeError):
        raise
    except Exception as error:  # a mistake of ours: people get a sentence, FEDGATE_DEBUG the trace
        if os.environ.get("FEDGATE_DEBUG"):
            raise
        raise FedgateError(
            "something unexpected went wrong",
            why=f"{type(error).__name__}: {error}",
            remedy="run it again with FEDGATE_DEBUG=1 and report what it prints",
        ) from error
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
