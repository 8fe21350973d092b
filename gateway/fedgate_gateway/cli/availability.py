"""What a submitter is told before waiting: who is there, who has what is needed, and until when."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedgate.errors import FedgateError
from fedgate_gateway.cli.output import printable
from fedgate_gateway.link.review_answer import KEEPS_FILES

if TYPE_CHECKING:
    from fedgate_gateway.cli.client import Client

#: Seconds that linked sites may take to answer before they are shown.
ANSWER_SECONDS = 5.0


def ask(client: Client, job: str) -> dict[str, Any]:
    """Once linked sites have answered, or had time to; empty where the gateway does not say: the
    job is submitted all the same.
    """
    try:
        return client.availability(job, wait=ANSWER_SECONDS)
    except FedgateError:
        return {}


def lines(told: Mapping[str, Any], now: datetime | None = None) -> list[str]:
    """The API's view of a job's availability, for people."""
    if not told:
        return ["  the gateway did not say which sites are there: see `fedgate job show`"]
    by_word: dict[str, list[str]] = {}
    for site in told["sites"]:
        by_word.setdefault(_word(site), []).append(printable(str(site["site"])))
    said = [f"  {', '.join(names)}: {word}" for word, names in by_word.items()]
    if not told["enclave"]:
        said.append("  no enclave is linked that runs this framework: the job waits for one")
    accepted = sum(site["decision"] == "accepted" for site in told["sites"])
    open_ones = [site for site in told["sites"] if site["decision"] == "pending"]
    if not open_ones:
        return said
    least = int(told["min_sites"])
    names = ", ".join(printable(str(site["site"])) for site in open_ones)
    goes_on = told.get("goes_on")
    needed = [str(s["site"]) for s in open_ones if s["site"] in told.get("mandatory", ())]
    if needed and goes_on:
        said.append(f"  it cannot go on without {printable(', '.join(needed))}")
    elif accepted >= least and goes_on:
        left = (datetime.fromisoformat(goes_on) - (now or datetime.now(UTC))).total_seconds()
        said.append(
            f"  without {names} it goes on in {max(0, math.ceil(left))} s (min_sites {least})"
        )
    elif goes_on:
        said.append(f"  it waits for {least - accepted} more of {names} (min_sites {least})")
    return said


def _word(site: Mapping[str, Any]) -> str:
    reason = printable(str(site.get("reason") or ""))
    decision = str(site["decision"])
    if decision == "denied":
        return f"declines: {reason}" if reason else "declines"
    if decision == "accepted":
        there = "takes part" if site["online"] else "takes part, and is offline now"
        at = reason.find(KEEPS_FILES)  # a yes to less than was asked for
        return there if at < 0 else f"{there}, {reason[at:]}"
    if decision == "absent":
        return f"given up on: {reason}"
    if not site["online"]:
        return "offline"
    if site["lacks"]:
        return "online, and has no " + ", no ".join(printable(str(lack)) for lack in site["lacks"])
    return "online, has not answered yet"
