"""Why sites declined, each reason once: three that lack the same package need one sentence."""

from __future__ import annotations

from collections.abc import Iterable

from fedgate_gateway.control.records import JobSite

#: Characters of one reason, so that several fit into what a job says.
_LONGEST = 700


def by_reason(denied: Iterable[JobSite]) -> str:
    """``a, b: what they said; c: what it said``; a site's own name in its reason does not count."""
    sites: dict[str, list[str]] = {}
    for site in denied:
        said = site.reason.replace(f"site {site.site} ", "this site ")
        sites.setdefault(said, []).append(site.site)
    return "; ".join(f"{', '.join(names)}: {_cut(said)}" for said, names in sites.items())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
