"""Reading server-sent events (the HTML standard, §9.2.6), within bounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fedgate.errors import InvalidMessage

_MAX_LINE = 256 * 1024
_MAX_EVENT = 1024 * 1024


@dataclass(frozen=True)
class Event:
    """One event of a job; ``id`` is where to go on after it."""

    id: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


def read_events(lines: Iterable[str]) -> Iterator[Event]:
    """Events from the stream's lines; an event that is cut off at the end is dropped.

    Raises :class:`InvalidMessage` for anything that the gateway does not send.
    """
    event_id, kind, data = 0, "", ""
    for line in lines:
        if len(line) > _MAX_LINE or len(data) > _MAX_EVENT:
            raise InvalidMessage("an event of the gateway is too large")
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(event_id, kind or "message", _object(data))
            kind, data = "", ""
        elif name == "data":
            data = f"{data}\n{value}" if data else value
        elif name == "event":
            kind = value
        elif name == "id":
            event_id = _number(value)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("an event of the gateway is not JSON", why=str(error)) from error
    if not isinstance(value, dict):
        raise InvalidMessage("an event of the gateway is not an object")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 19):
        raise InvalidMessage("an event of the gateway has no proper id", why=f"{text!r:.60}")
    return int(text)
