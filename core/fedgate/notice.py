"""A notice: why something ended, in a form that cannot carry what a workload chose.

It is a code from :mod:`fedgate.codes`, the numbers that the code's sentence names, and codes for
sites. Closing messages, reports and the audit log take nothing else; whoever shows one renders
the sentence from its own table. The text of an exception stays where it was raised, or goes sealed
to the submitter.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fedgate.codes import SENTENCES, Code

if TYPE_CHECKING:
    from fedgate.errors import FedgateError

#: Characters of an encoded notice, and sites in one.
MAX_TEXT, MAX_SITES = 16_384, 256
_SITE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MOST = 2**53


@dataclass(frozen=True)
class Notice:
    """Raises :class:`ValueError` for numbers that the code's sentence does not name."""

    code: Code
    numbers: Mapping[str, int | float] = field(default_factory=lambda: MappingProxyType({}))
    #: Names of sites from configuration -> what is true of each.
    sites: Mapping[str, Code] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not isinstance(self.code, Code) or set(self.numbers) != numbers_of(self.code):
            raise ValueError("a notice's numbers are not those of its code")
        if not all(_is_number(value) for value in self.numbers.values()):
            raise ValueError("a notice's numbers are no numbers")
        if len(self.sites) > MAX_SITES or not all(
            _SITE.fullmatch(site) and isinstance(code, Code) for site, code in self.sites.items()
        ):
            raise ValueError("a notice's sites are no sites")

    @property
    def sentence(self) -> str:
        """For people: what happened, and for each site why."""
        text = SENTENCES[self.code].format_map({k: f"{v:.12g}" for k, v in self.numbers.items()})
        shares = [f"{site}: {_bare(code)}" for site, code in self.sites.items()]
        return "; ".join([text, *shares])

    def to_text(self) -> str:
        """Compact JSON; :func:`read_notice` is the strict inverse."""
        told: dict[str, Any] = {"code": str(self.code)}
        if self.numbers:
            told["numbers"] = dict(self.numbers)
        if self.sites:
            told["sites"] = {site: str(code) for site, code in self.sites.items()}
        return json.dumps(told, separators=(",", ":"))


def read_notice(text: str) -> Notice:
    """Raises :class:`ValueError` for anything but a notice."""
    if len(text) > MAX_TEXT:
        raise ValueError("too long for a notice")
    try:
        told = json.loads(text)
        if not isinstance(told, dict) or not set(told) <= {"code", "numbers", "sites"}:
            raise ValueError("not a notice")
        sites = {site: Code(code) for site, code in dict(told.get("sites", {})).items()}
        return Notice(Code(told["code"]), dict(told.get("numbers", {})), sites)
    except (KeyError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError("not a notice") from error


def public(error: FedgateError) -> Notice:
    """What may be said of an error to everybody: its own notice, or that of its class."""
    return error.notice or Notice(Code(error.code))


def numbers_of(code: Code) -> set[str]:
    """Names of the numbers in its sentence."""
    return {name for _, name, _, _ in Formatter().parse(SENTENCES[code]) if name}


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) <= _MOST


def _bare(code: Code) -> str:
    """Its sentence without remedy, and without numbers, which stand behind a colon."""
    text = SENTENCES[code].partition(" (")[0]
    return text.partition(":")[0] if "{" in text else text
