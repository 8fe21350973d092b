"""Opaque traffic that a workload needs and sites say beforehand that they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fedgate.errors import Denied
from fedgate.task import frame_allowed
from fedgate_gateway.control.records import Submission

#: What a linked site's guard lists, as it says itself; None where nobody knows.
SiteFrames = Callable[[str], Sequence[str] | None]
_NAMES = 1000


def check_frames(submission: Submission, site_frames: SiteFrames) -> None:
    """Raise :class:`Denied` when too few sites are left beside those that are sure to refuse.

    It saves a submitter the wait for an answer that is known. Each site decides for itself all the
    same: neither what it says here nor who passes it on is believed.
    """
    closed: dict[str, list[str]] = {}
    for site in submission.sites:
        rules = site_frames(site)
        if rules is not None:
            missing = [n for n in submission.manifest.frames if not frame_allowed(n, rules)]
            if missing:
                closed[site] = missing
    if closed and len(submission.sites) - len(closed) < submission.min_sites:
        raise Denied(
            "the workload needs opaque traffic that sites do not allow",
            why="; ".join(f"{s}: {', '.join(names)}" for s, names in closed.items())[:_NAMES],
            remedy="ask their data owners to list it in guard.frames, or choose other sites",
        )
