"""How a failure is shown: what happened, why, and what to do; on stderr, JSON where asked for."""

from __future__ import annotations

import json
import sys

from fedgate.errors import FedgateError
from fedgate_gateway.cli import output


def show(error: FedgateError) -> None:
    """One error on stderr; ``--format json`` prints its dictionary."""
    if output.chosen() is output.Format.JSON:
        text = json.dumps({"error": {**error.to_dict(), "exit_code": error.exit_code}})
    else:
        text = "\n".join(lines(error))
    print(text, file=sys.stderr, flush=True)


def lines(error: FedgateError) -> list[str]:
    """The error for a person; each part on a line of its own."""
    told = [f"error: {output.printable(error.what)}"]
    if error.why:
        told.append(f"  why: {output.printable(error.why)}")
    if error.remedy:
        told.append(f"  try: {output.printable(error.remedy)}")
    return told
