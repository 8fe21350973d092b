"""The name of a job. Everybody sees it, on terminals and in the log: its characters are few."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 128
_ALLOWED: Final = r"\w .:,;()+/@#&'=-"
_TITLE: Final = re.compile(rf"(\w[{_ALLOWED}]{{0,{MOST - 1}}})?")
_OTHER: Final = re.compile(rf"[^{_ALLOWED}]")


def is_title(text: str) -> bool:
    """Letters and digits of any script, and some punctuation; empty: the workload's own."""
    return _TITLE.fullmatch(text) is not None


def as_title(text: str) -> str:
    """A workload's own name, which may be anything, with the characters that names have."""
    cleaned = _OTHER.sub("_", text[:MOST])
    return cleaned if is_title(cleaned) else f"_{cleaned}"[:MOST]


def title_of(asked: str, workload: str) -> str:
    """What a job is called: as its submitter says, or as its workload does."""
    return asked or as_title(workload)
