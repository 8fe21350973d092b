"""What a peer may have written down: for each kind of entry and event, its fields and their values.

Codes from fixed lists, counts, digests, and names that the gateway knows already. Nothing here is
a text, so neither a workload nor a peer can write one; a notice is told in the gateway's own words.
The peer makes its reports by the same schema (:mod:`fedgate_gateway.link.report`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from fedgate.errors import InvalidMessage
from fedgate.notice import Notice, read_notice
from fedgate.task import Failure, TaskKind
from fedgate_gateway.config import METRIC_NAME
from fedgate_gateway.pki import PeerKind

#: Names of metrics, and how many of them one round may tell.
_METRIC_NAME: Final = re.compile(METRIC_NAME)
_MOST_METRICS: Final = 64
#: Names of rules of a policy, and how many are told.
_RULE: Final = re.compile(r"[A-Za-z0-9 _.-]{1,64}")
_MOST_RULES: Final = 16
#: Outputs that a project may release in clear.
_OUTPUTS: Final = ("model", "artifacts", "logs", "metrics")
#: What an enclave says of a site; at last, of files that its worker left.
SITE_STATES: Final = ("ready", "restarting", "lost", "files-released", "files-lost")
#: Bytes of one entry or event.
MOST_BYTES: Final = 32 * 1024
_LOG_CHARS = 64 * 1024
#: What the name of a frame that is told looks like.
FRAME_NAME: Final = r"[A-Za-z0-9_.:*/-]{1,200}"
_MOST = 2**53 - 1
Sites = Collection[str]
Check = Callable[[Any, Sites], bool]


def _pattern(pattern: str) -> Check:
    matches = re.compile(pattern).fullmatch
    return lambda value, _: isinstance(value, str) and matches(value) is not None


def _one_of(*values: str) -> Check:
    return lambda value, _: isinstance(value, str) and value in values


def _count(value: Any, _: Sites) -> bool:
    return type(value) is int and 0 <= value <= _MOST


def _site(value: Any, sites: Sites) -> bool:
    return isinstance(value, str) and value in sites


def _sites(value: Any, sites: Sites) -> bool:
    return isinstance(value, list) and all(_site(v, sites) for v in value)


def _failures(value: Any, sites: Sites) -> bool:
    known = set(Failure)
    return isinstance(value, dict) and all(
        _site(site, sites) and isinstance(code, str) and code in known
        for site, code in value.items()
    )


def _rules(value: Any, _: Sites) -> bool:
    return isinstance(value, list) and value == told_rules([v for v in value if type(v) is str])


def told_rules(ids: Iterable[str]) -> list[str]:
    """Names of an owner's rules as the log takes them; one in other characters is not named."""
    return [name if _RULE.fullmatch(name) else "unnamed" for name in ids][:_MOST_RULES]


def told_clear(names: Iterable[str]) -> list[str]:
    """Outputs that a project releases in clear, as its enclave says at the start of a job."""
    told = set(names)
    return [name for name in _OUTPUTS if name in told]


def _counts_by_round(value: Any, sites: Sites) -> bool:
    return isinstance(value, dict) and all(
        re.fullmatch(r"\d{1,10}", number) and _count(count, sites)
        for number, count in value.items()
    )


def _metrics(value: Any, _: Sites) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= _MOST_METRICS
        and all(_METRIC_NAME.fullmatch(name) for name in value)
        and all(v is None or _number(v) for v in value.values())
    )


def _number(value: Any, _: Sites = ()) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any, _: Sites) -> bool:
    """Of the log alone, where the project has chosen to show it in clear."""
    return isinstance(value, str) and len(value) <= _LOG_CHARS


_DIGEST = _pattern(r"sha256:[0-9a-f]{64}|")
_NAME = _pattern(r"[a-z0-9][a-z0-9_-]{0,62}")
#: Declared in a bundle or a configuration, before anything ran; or "undeclared".
_FRAME = _pattern(FRAME_NAME)
_ROUND: Mapping[str, Check] = {
    "round": _count, "task": _one_of(*TaskKind), "part": _count, "parts": _count,
    "sites": _sites, "answered": _sites, "failed": _failures, "unreached": _failures,
    "abandoned": _sites, "tasks": _count, "answers": _count, "late": _count,
    "metrics": _metrics, "metrics_left_out": _count,
    "sent_bytes": _count, "received_bytes": _count, "seconds": _pattern(r"\d{1,10}\.\d{6}"),
}  # fmt: skip
#: Kind of entry in the audit log -> field -> what it may hold. "notice" is checked by itself.
ENTRIES: Mapping[PeerKind, Mapping[str, Mapping[str, Check]]] = {
    PeerKind.ENCLAVE: {
        "session.opened": {
            "site": _site, "transcript": _pattern(r"[0-9a-f]{64}"), "evidence": _NAME,
        },
        "session.ended": {"site": _site},
        "session.refused": {"site": _site},
        "site.left": {"site": _site},
        "site.lost": {"site": _site},
        "round.finished": _ROUND,
        "round.abandoned": _ROUND,
        "round.late": {"answers": _count, "rounds": _counts_by_round, "bytes": _count},
        "round.unsent": {"tasks": _count},
        "released": {
            "model_bytes": _count, "artifact_bytes": _count, "log_bytes": _count,
            "metrics_bytes": _count, "round": _count, "cohort": _sites, "recipient": _DIGEST,
        },
        "site-files.released": {"site": _site, "bytes": _count, "recipient": _DIGEST},
        "site-files.lost": {"site": _site},
        "frames.passed": {
            "site": _site, "frame": _FRAME,
            "direction": _one_of("in", "out"), "frames": _count, "bytes": _count,
        },
    },
    PeerKind.SITE: {
        "enclave.appraised": {
            "evidence": _NAME, "hardware": _one_of("true", "false"), "sandbox": _NAME,
            "measurement": _pattern(r"[A-Za-z0-9:._+/=-]{0,200}"), "rules": _rules,
        },
        "session.ended": {},
        "site.refused": {},
        "site-files.kept": {},
        "egress.refused": {},
        "frame.refused": {"frame": _FRAME},
    },
}  # fmt: skip
#: The same for the events that people watch.
EVENTS: Mapping[str, Mapping[str, Check]] = {
    "round": {
        **_ROUND, "seconds": _number, "sites_total": _count, "answered_total": _count,
    },
    "metrics": {"round": _count, "metrics": _metrics, "metrics_left_out": _count},
    "site-state": {"site": _site, "state": _one_of(*SITE_STATES)},
    "log": {"text": _text},
}  # fmt: skip
#: Kinds that say why.
_WITH_NOTICE = frozenset(
    {
        "session.ended", "session.refused", "site.left", "site.lost", "site.refused",
        "egress.refused", "frame.refused", "site-state", "site-files.kept", "site-files.lost",
    }
)  # fmt: skip


def entry(kind: PeerKind, name: str, text: str, sites: Sites) -> dict[str, Any]:
    """An audit report as it is written down; raises :class:`InvalidMessage` for any other."""
    fields = ENTRIES[kind].get(name)
    if fields is None or len(text) > MOST_BYTES:
        raise InvalidMessage("an audit report is too large or not this peer's to write")
    return _checked(name, _object(text), fields, sites)


def event(text: str, sites: Sites) -> tuple[str, dict[str, Any]]:
    """Kind and data of an event; raises :class:`InvalidMessage`."""
    if len(text) > 8 * MOST_BYTES:
        raise InvalidMessage("an event is too large", why=f"{len(text)} characters")
    data = _object(text)
    kind = data.pop("kind", None)
    fields = EVENTS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise InvalidMessage("an event of an unknown kind")
    assert isinstance(kind, str)
    checked = _checked(kind, data, fields, sites)
    if "why" in checked:  # as every event says it
        checked["reason"] = checked.pop("why")
    return kind, checked


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage("a report is not JSON") from error
    if not isinstance(data, dict):
        raise InvalidMessage("a report is not an object")
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _checked(
    kind: str, data: dict[str, Any], fields: Mapping[str, Check], sites: Sites
) -> dict[str, Any]:
    why = data.pop("notice", "")
    for name, value in data.items():
        if name not in fields:
            raise InvalidMessage(f"a report of kind {kind} has a field that it cannot have")
        if not fields[name](value, sites):
            raise InvalidMessage(f"a report of kind {kind} has a malformed {name}")
    if why == "":
        return data
    if kind not in _WITH_NOTICE:
        raise InvalidMessage(f"a report of kind {kind} gives no reason")
    return {**data, **told(_notice(why))}


def _notice(text: Any) -> Notice:
    try:
        return read_notice(text)
    except (ValueError, TypeError) as error:
        raise InvalidMessage("a report's reason is not a notice") from error


def told(notice: Notice) -> dict[str, str]:
    """A notice for people and programs."""
    return {"code": str(notice.code), "why": notice.sentence}
