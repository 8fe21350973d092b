"""A round as entries of the audit log and as an event: codes, counts, and names of sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedgate.task import Round
from fedgate_gateway.enclave.round_tracker import Unrecorded

#: Sites of one entry; a round of more is told in several, so that none becomes too large to write.
_SITES = 150
_LATE_ROUNDS = 500


def kind_of(told: Round) -> str:
    """The kind of its entries."""
    return "round.abandoned" if told.abandoned else "round.finished"


def entries(told: Round, metrics: Mapping[str, float | None]) -> Iterator[dict[str, Any]]:
    """The first has the counts, and ``parts`` where there are others."""
    names = list(dict.fromkeys([*told.sites, *told.unreached]))
    pieces = [names[i : i + _SITES] for i in range(0, len(names), _SITES)]
    counts = {
        "tasks": told.tasks,
        "answers": told.answers,
        "late": told.late,
        "metrics": dict(metrics),
        "metrics_left_out": told.metrics_left_out,
        "sent_bytes": told.sent_bytes,
        "received_bytes": told.received_bytes,
        "seconds": f"{told.seconds:.6f}",
    }
    for index, piece in enumerate(pieces, 1):
        entry: dict[str, Any] = {"round": told.number, "task": str(told.kind)}
        if len(pieces) > 1:
            entry |= {"part": index, "parts": len(pieces)}
        yield {**entry, **_sites(told, piece), **(counts if index == 1 else {})}


def _sites(told: Round, among: Sequence[str]) -> dict[str, Any]:
    """Who was sent a task, who answered, who did not and why."""
    names = set(among)
    return {
        "sites": [s for s in told.sites if s in names],
        "answered": [s for s in told.answered if s in names],
        "failed": {s: str(code) for s, code in told.failed.items() if s in names},
        "unreached": {s: str(code) for s, code in told.unreached.items() if s in names},
        "abandoned": [s for s in told.abandoned if s in names],
    }


def event(told: Round, metrics: Mapping[str, float | None]) -> dict[str, Any]:
    """For those who watch: the first entry, and of how many sites it is."""
    first = next(entries(told, metrics))
    totals = {"sites_total": len(told.sites), "answered_total": len(told.answered)}
    return {**first, **totals, "seconds": told.seconds}


def unrecorded(found: Unrecorded) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kinds and entries for what belongs to no round that was written, at the end of a job."""
    if found.late:
        rounds = {str(number): count for number, count in list(found.late.items())[:_LATE_ROUNDS]}
        answers = sum(found.late.values())
        yield "round.late", {"answers": answers, "rounds": rounds, "bytes": found.late_bytes}
    if found.unsent:
        yield "round.unsent", {"tasks": found.unsent}
