"""What a peer tells the gateway of a job: an entry for the audit log, or an event.

There is none with a field, a value or a size that the schema (:mod:`fedgate_gateway.link.facts`)
has no place for: what is made here has been read as the gateway will read it.
"""

from __future__ import annotations

import json
from typing import Any, final

from fedgate.notice import Notice
from fedgate_gateway import operator_log
from fedgate_gateway.link import facts
from fedgate_gateway.link.facts import Sites
from fedgate_gateway.pki import PeerKind


@final
class Entry:
    """Of a peer of this ``kind``, in a job of these ``sites``.

    Raises :class:`InvalidMessage` for what the audit log does not take.
    """

    __slots__ = ("_data", "name", "text")

    def __init__(
        self, kind: PeerKind, name: str, sites: Sites, notice: Notice | None = None, /, **told: Any
    ) -> None:
        self.name = name
        self.text = _written(notice, told)
        self._data = facts.entry(kind, name, self.text, sites)

    def tell_operator(self, job: str) -> None:
        """In the log of the program that reports it, by the same codes and names."""
        operator_log.tell(self.name, self._data, job=job)


@final
class Event:
    """For those who watch the job; raises :class:`InvalidMessage` as :class:`Entry` does."""

    __slots__ = ("text",)

    def __init__(self, name: str, sites: Sites, notice: Notice | None = None, /, **told: Any):
        self.text = _written(notice, {"kind": name, **told})
        facts.event(self.text, sites)


def _written(notice: Notice | None, told: dict[str, Any]) -> str:
    return json.dumps(told if notice is None else {**told, "notice": notice.to_text()})
