"""What a workload needs of sites' guards, and sites that say beforehand that they refuse it."""

from __future__ import annotations

from collections.abc import Callable

from fedgate.errors import Denied
from fedgate.guard_rules import GuardRules, missing_lines
from fedgate_gateway.control.records import Submission

#: What a linked site's guard lets out, as it says itself; None where nobody knows.
SiteGuard = Callable[[str], GuardRules | None]
_LONGEST = 2000


def check_guards(submission: Submission, site_guard: SiteGuard) -> None:
    """Raise :class:`Denied` when the sites that are sure to refuse leave too few, or are mandatory.

    It saves a submitter the wait for an answer that is known. Each site decides for itself all the
    same: neither what it says here nor who passes it on is believed.
    """
    closed: dict[str, list[str]] = {}
    for site in submission.sites:
        rules = site_guard(site)
        if rules is not None and (
            missing := missing_lines(submission.manifest.guard, submission.manifest.frames, rules)
        ):
            closed[site] = missing
    too_few = len(submission.sites) - len(closed) < submission.min_sites
    if closed and (too_few or closed.keys() & set(submission.manifest.mandatory)):
        raise Denied(
            "the workload needs to send what sites' guards do not let out",
            why="; ".join(f"{s}: {', '.join(lines)}" for s, lines in closed.items())[:_LONGEST],
            remedy="ask their data owners to write these lines into their site.toml, "
            "or choose other sites",
        )
