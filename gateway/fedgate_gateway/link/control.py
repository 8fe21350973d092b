"""Control letters: what a site and an enclave tell each other about a job, beside its tasks.

``welcome`` and ``ready`` open it, ``left`` (a site) and ``over`` (the enclave) end it. They are
sealed: a reason may be any text, and comes with the notice that everybody may hear.
"""

from __future__ import annotations

from typing import Any

import msgpack

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.notice import Notice, public, read_notice

#: Characters of a reason.
_REASON = 4000
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


def write_leaving(error: FedgateError, most: int) -> bytes:
    """A site goes: what everybody may hear of why, and the rest for the submitter.

    The rest is job code's to write, so a site's guard bounds it: ``most`` characters at most.
    """
    reason = str(error)[: min(most, _REASON)]
    return write_control("left", notice=public(error).to_text(), reason=reason)


def read_leaving(fields: dict[str, Any]) -> tuple[Notice, str]:
    """The fields of a ``left``; raises :class:`InvalidMessage`."""
    try:
        notice = read_notice(fields.get("notice", ""))
    except (ValueError, TypeError) as error:
        raise InvalidMessage("a site leaves without a notice", why=str(error)) from error
    return notice, str(fields.get("reason", ""))[:_REASON]
