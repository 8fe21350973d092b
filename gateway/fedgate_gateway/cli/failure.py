"""How a failure is shown: what happened, why, and what to do; on stderr, JSON where asked for."""

from __future__ import annotations

import json
import logging
import sys

import click

from fedgate.errors import FedgateError
from fedgate_gateway.cli import logs, output


def show(error: FedgateError) -> None:
    """One error on stderr, as ``--format`` says; a line of the log with ``--log-format json``."""
    if logs.as_json():
        told = {**error.to_dict(), "exit_code": error.exit_code}
        logging.getLogger("fedgate").error("%s", error, extra={"fields": told})
        return
    if output.chosen() is output.Format.JSON:
        text = json.dumps({"error": {**error.to_dict(), "exit_code": error.exit_code}})
    else:
        text = "\n".join(lines(error))
    print(text, file=sys.stderr, flush=True)


def show_usage(error: click.ClickException) -> None:
    """A command that was called wrongly, in the words of the library that reads commands."""
    if logs.as_json():
        told = {"code": "usage", "exit_code": error.exit_code}
        logging.getLogger("fedgate").error("%s", error.format_message(), extra={"fields": told})
    else:
        error.show()


def lines(error: FedgateError) -> list[str]:
    """The error for a person; each part on a line of its own."""
    told = [f"error: {output.printable(error.what)}"]
    if error.why:
        told.append(f"  why: {output.printable(error.why)}")
    if error.remedy:
        told.append(f"  try: {output.printable(error.remedy)}")
    return told
