"""A frame that a site's guard refused, in words: who refused it, and the line that would allow it.

The one place that decides is the list ``frames`` under ``[guard]`` in the site's own file.
"""

from __future__ import annotations

#: How a frame is told whose name nobody declared before anything ran: job code can put data into a
#: name, so that only the site's owner sees it.
UNDECLARED = "undeclared"
_THEN = "and say `fedgate site reload`; jobs that begin after that may send it"


def refused(site: str, frame: str) -> str:
    """For everybody but the site's owner."""
    if frame == UNDECLARED:
        return (
            f"site {site} refused a frame that nobody declared; its name, and the line that would "
            "allow it, are in that site's own log of this job"
        )
    return f"site {site} refused the frame {frame}; its owner can {how_to_allow(frame)}"


def how_to_allow(frame: str) -> str:
    """For the owner: the line, and where."""
    return f'add "{frame}" to frames under [guard] in site.toml, {_THEN}'
