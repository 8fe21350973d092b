"""What an operator reads of jobs, peers and tokens: one line for each thing that happened.

The same happenings as in the audit log, by the names and codes that it knows them by. Reasons,
names of workloads and whatever else a user may have written are left out: these lines go to a
machine's journal and from there to anywhere.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

log = logging.getLogger("fedgate.operator")

#: Field of a happening -> its name in the line. Each holds an id, a code, or a name that an
#: operator or administrator gave.
_FIELDS: Final = {
    "id": "id", "token": "token", "site": "site", "state": "state", "decision": "decision",
    "code": "code", "enclave": "enclave", "project": "project", "bundle": "bundle",
    "request": "request", "round": "round", "evidence": "evidence", "sandbox": "sandbox",
    "certificate": "certificate", "direction": "direction", "bytes": "bytes", "size": "bytes",
    "digest": "digest", "recipient": "recipient", "way": "way",
}  # fmt: skip
_CODED: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/+=-]{0,127}")
_PEERS: Final = ("peer.", "link.")


def tell(kind: str, data: Mapping[str, Any], *, job: str | None = None, actor: str = "") -> None:
    """One line; rounds, of which there are many, at DEBUG."""
    level = logging.DEBUG if kind.startswith("round.") else logging.INFO
    if not log.isEnabledFor(level):
        return
    fields: dict[str, Any] = {"kind": kind}
    if job:
        fields["job"] = job
    if actor:
        fields["actor"] = actor
    if kind.startswith(_PEERS):
        fields["peer"] = f"{data.get('kind')} {data.get('name')}"
    fields.update(
        (_FIELDS[name], value) for name, value in data.items() if name in _FIELDS and _coded(value)
    )
    log.log(level, "%s", _Line(fields), extra={"fields": fields})


class _Line:
    """``job.transition job=job-… actor=gateway``, made only where somebody reads it."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        told = [f"{k}={_quoted(v)}" for k, v in self._fields.items() if k != "kind"]
        return " ".join([str(self._fields["kind"]), *told])


def _coded(value: Any) -> bool:
    if isinstance(value, str):
        return _CODED.fullmatch(value) is not None
    return isinstance(value, int)


def _quoted(value: Any) -> str:
    text = str(value)
    return text if _CODED.fullmatch(text) else repr(text)
