"""Control letters: what a site and an enclave tell each other about a job, beside its tasks.

``welcome`` and ``ready`` open it, ``left`` (a site) and ``over`` (the enclave) end it. A site whose
worker crashed says ``restarting``, is welcomed once more, and is ``ready`` again; that its guard
has refused a frame it says as ``frame-refused``. Before it is over an enclave may ``collect`` files
that a worker left: they come as ``files``, or are ``kept``. Of a cargo its receiver says ``got`` or
``lost``, its sender ``again`` or ``gone`` (:mod:`.delivery`). They are sealed: a reason may be any
text, and comes with the notice that everybody may hear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from fedgate.errors import FedgateError, InvalidMessage
from fedgate.notice import Notice, public, read_notice
from fedgate.refused_frames import UNDECLARED
from fedgate_gateway.sealed import CargoKey

#: Characters of a reason.
_REASON = 4000
_KNOWN = frozenset(
    {
        "welcome", "ready", "restarting", "frame-refused", "left", "collect", "files", "kept",
        "over", "got", "lost", "again", "gone",
    }
)  # fmt: skip
#: Bytes of a cargo's id.
_ID = 16


def write_control(what: str, **fields: str | float | bool | bytes) -> bytes:
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


def write_leaving(error: FedgateError, most: int, what: str = "left") -> bytes:
    """A site goes, or starts its worker again: what everybody may hear of why, and the rest for the
    submitter.

    The rest is job code's to write, so a site's guard bounds it: ``most`` characters at most.
    """
    reason = str(error)[: min(most, _REASON)]
    return write_control(what, notice=public(error).to_text(), reason=reason)


def read_leaving(fields: dict[str, Any]) -> tuple[Notice, str]:
    """The fields of a ``left`` or a ``restarting``; raises :class:`InvalidMessage`."""
    try:
        notice = read_notice(fields.get("notice", ""))
    except (ValueError, TypeError) as error:
        raise InvalidMessage("a site leaves without a notice", why=str(error)) from error
    return notice, str(fields.get("reason", ""))[:_REASON]


def read_frame_name(fields: dict[str, Any], declared: Sequence[str]) -> str:
    """Of a ``frame-refused``; a name that the bundle did not declare is told as none."""
    frame = fields.get("frame")
    return frame if isinstance(frame, str) and frame in declared else UNDECLARED


def write_files(key: CargoKey, *, whole: bool) -> bytes:
    """The files that a site's worker left, as an archive under way; not ``whole``: some of them."""
    return write_control("files", key=key.to_bytes(), whole=whole)


def read_files(fields: dict[str, Any]) -> tuple[CargoKey, bool]:
    """The cargo of a ``files``, and whether it is all of them.

    Raises :class:`InvalidMessage`, or :class:`SealBroken` for a key that is none.
    """
    key, whole = fields.get("key"), fields.get("whole")
    if not isinstance(key, bytes) or not isinstance(whole, bool):
        raise InvalidMessage("a control letter sends no files")
    return CargoKey.from_bytes(key), whole


def write_kept(notice: Notice | None) -> bytes:
    """A site keeps what its worker left, and why; None: there is nothing."""
    return write_control("kept", notice="" if notice is None else notice.to_text())


def read_kept(fields: dict[str, Any]) -> Notice | None:
    """Raises :class:`InvalidMessage`."""
    text = fields.get("notice")
    try:
        return None if text == "" else read_notice(text)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise InvalidMessage("a site keeps files without a notice", why=str(error)) from error


def read_cargo(fields: dict[str, Any]) -> bytes:
    """The cargo that a ``got``, ``lost``, ``again`` or ``gone`` speaks of; raises
    :class:`InvalidMessage`.
    """
    cargo = fields.get("cargo")
    if not isinstance(cargo, bytes) or len(cargo) != _ID:
        raise InvalidMessage("a control letter names no cargo")
    return cargo


def read_again(fields: dict[str, Any]) -> tuple[CargoKey, bool]:
    """What an ``again`` sends in a lost cargo's place, and whether a witness follows.

    Raises :class:`InvalidMessage`, or :class:`SealBroken` for a key that is none.
    """
    key, shared = fields.get("key"), fields.get("shared")
    if not isinstance(key, bytes) or not isinstance(shared, bool):
        raise InvalidMessage("a control letter sends nothing again")
    return CargoKey.from_bytes(key), shared
