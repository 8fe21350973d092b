"""The end of a failed job's log, for whoever waited for it and holds the key to its outputs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgate.errors import FedgateError
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.output import printable
from fedgate_gateway.cli.results import read_log
from fedgate_gateway.cli.submissions import Submissions

_LINES = 15


def show_end_of_log(client: Client, job: Mapping[str, Any], profile: Path | None) -> None:
    """On stderr, where the job failed and its project lets its log out; silent otherwise.

    Only here are the words that the workload's failure came with: the gateway has a code.
    """
    if job["state"] != "failed" or not client.profile.recipient:
        return
    try:
        text = read_log(client, str(job["id"]), submissions=Submissions(profile))
    except FedgateError as error:
        print(f"its log does not open: {error}", file=sys.stderr)
        return
    lines = printable(text).splitlines()
    if lines:
        print(f"the end of its log (all of it: `fedgate job logs {job['id']}`):", file=sys.stderr)
        for line in lines[-_LINES:]:
            print(f"  {line}", file=sys.stderr)
