"""Control letters: what a site and an enclave tell each other about a job, beside its tasks.

``welcome`` and ``ready`` open it, ``left`` (a site) and ``over`` (the enclave) end it.
"""

from __future__ import annotations

from typing import Any

import msgpack

from fedgate.errors import InvalidMessage

_KNOWN = frozenset({"welcome", "ready", "left", "over"})


def write_control(what: str, **fields: str | float | bool) -> bytes:
    packed: bytes = msgpack.packb([what, fields])
    return packed


def read_control(body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        what, fields = msgpack.unpackb(body)
    except Exception as error:
        raise InvalidMessage("a control letter does not parse", why=repr(error)) from error
    if not isinstance(what, str) or what not in _KNOWN or not isinstance(fields, dict):
        raise InvalidMessage("an unknown control letter", why=repr(what)[:100])
    return what, fields
