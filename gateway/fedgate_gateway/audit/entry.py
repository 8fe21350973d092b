"""What one entry of the log says, and its only encoding.

An entry is canonical JSON: UTF-8, sorted keys, no blanks, finite numbers, integers that every
reader of JSON holds exactly. The leaf hash is over these very bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fedgate.errors import InvalidMessage

VERSION = 1
MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
#: Characters of ``actor`` and of ``job``, whose column is that wide.
MAX_NAME = 128
_KIND = re.compile(r"[a-z][a-z0-9_]*(?:[.-][a-z0-9_]+)*")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_MAX_INT = 2**53 - 1


@dataclass(frozen=True)
class Entry:
    """One thing that happened: ``kind`` (``job.transition``), who did it, and the facts."""

    at: datetime  # aware, UTC, microseconds
    kind: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    job: str | None = None

    def encode(self) -> bytes:
        """The canonical bytes; raises :class:`InvalidMessage` when they cannot be an entry."""
        if not _KIND.fullmatch(self.kind) or len(self.kind) > 64:
            raise InvalidMessage(f"{self.kind[:80]!r} is not a kind of audit entry")
        for name in (self.actor, self.job or ""):
            if len(name) > MAX_NAME or not name.isprintable():
                raise InvalidMessage(f"{name!r:.80} cannot stand in an audit entry as a name")
        if self.at.tzinfo is None:
            raise InvalidMessage("an audit entry needs a time with a time zone")
        value = {
            "v": VERSION,
            "at": self.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "kind": self.kind,
            "actor": self.actor,
            "data": dict(self.data),
        }
        if self.job is not None:
            value["job"] = self.job
        encoded = canonical_json(value)
        if len(encoded) > MAX_BYTES:
            raise InvalidMessage(
                f"an audit entry of {len(encoded)} bytes is too large",
                why=f"at most {MAX_BYTES} bytes fit",
                remedy="log digests and counts instead of contents",
            )
        return encoded

    @classmethod
    def decode(cls, encoded: bytes) -> Entry:
        """The strict inverse of :meth:`encode`; raises :class:`InvalidMessage`."""
        if len(encoded) > MAX_BYTES:
            raise InvalidMessage("an audit entry is too large", why=f"{len(encoded)} bytes")
        value = parse_canonical(encoded)
        if not isinstance(value, dict) or not set(value) <= {
            "v", "at", "kind", "actor", "data", "job",
        }:  # fmt: skip
            raise InvalidMessage("an audit entry has unknown fields")
        at, kind, actor = value.get("at"), value.get("kind"), value.get("actor")
        data, job = value.get("data"), value.get("job")
        if value.get("v") != VERSION or isinstance(value["v"], bool):
            raise InvalidMessage("an audit entry has an unknown version")
        if not (isinstance(at, str) and _AT.fullmatch(at)):
            raise InvalidMessage("an audit entry has no proper time")
        if not (isinstance(kind, str) and isinstance(actor, str) and isinstance(data, dict)):
            raise InvalidMessage("an audit entry lacks kind, actor or data")
        if "job" in value and not isinstance(job, str):
            raise InvalidMessage("an audit entry names no proper job")
        try:
            when = datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError as error:
            raise InvalidMessage("an audit entry has no proper time", why=str(error)) from error
        entry = cls(when, kind, actor, data, job)
        if entry.encode() != encoded:
            raise InvalidMessage("an audit entry is not in its canonical form")
        return entry


def canonical_json(value: Any, *, depth: int = MAX_DEPTH) -> bytes:
    """The one encoding of a JSON value; raises :class:`InvalidMessage` for anything else."""
    _check(value, depth)
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError as error:  # lone surrogates
        raise InvalidMessage("text that is not Unicode", why=str(error)) from error


def parse_canonical(encoded: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """Decode JSON and insist that it was canonical: no duplicate keys, no other spelling."""
    try:
        value = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("not JSON", why=str(error)) from error
    if canonical_json(value, depth=depth) != encoded:
        raise InvalidMessage("JSON that is not in its canonical form")
    return value


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise InvalidMessage("an audit value is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidMessage(f"a key of an audit value is no text: {key!r:.80}")
            _check(item, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    else:
        _check_scalar(value)


def _check_scalar(value: Any) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_INT:
            raise InvalidMessage("an integer is too large for JSON", remedy="log it as text")
    elif not isinstance(value, float):
        raise InvalidMessage(f"a {type(value).__name__} cannot stand in an audit entry")
    elif not math.isfinite(value):
        raise InvalidMessage(f"{value} is no number in JSON", remedy="log it as text")
