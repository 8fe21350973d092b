"""What the answers of a job's sites come to: it is refused, goes on, or waits for more of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fedgate_gateway.control.denials import by_reason
from fedgate_gateway.control.records import Decision, JobSite


def refusal(sites: Sequence[JobSite], *, mandatory: Collection[str], min_sites: int) -> str:
    """Why the job can no longer go on, by the names of those that declined; "" while it can."""
    denied = [s for s in sites if s.decision is Decision.DENIED]
    if needed := [s for s in denied if s.site in mandatory]:
        names = ", ".join(s.site for s in needed)
        return f"the workload cannot go on without {names}: {by_reason(needed)}"
    return by_reason(denied) if len(sites) - len(denied) < min_sites else ""


def may_go_on(
    sites: Sequence[JobSite], *, mandatory: Collection[str], min_sites: int, waited: bool
) -> bool:
    """Has everybody answered, or everybody who must, and the others had their time?"""
    if all(s.decision is not Decision.PENDING for s in sites):
        return True
    accepted = {s.site for s in sites if s.decision is Decision.ACCEPTED}
    return waited and len(accepted) >= min_sites and accepted.issuperset(mandatory)
