"""What an inspection said, read strictly: a stranger's files were the last thing that it saw."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_type_hints

from fedgate.errors import FedgateError, InspectionFailed, error_from_dict
from fedgate.manifest import Manifest
from fedgate.task import Scalar

#: Bytes of an answer: what a reviewer can still read, and every peer gets with the job.
ANSWER_BYTES = 1 << 20
_TEXT = 4000
_WHAT = "this bundle cannot be inspected"
_REMEDY = "make the files that describe the workload smaller and simpler"


@dataclass(frozen=True)
class Answer:
    """``said`` is None for one that ended without a word."""

    said: Mapping[str, Any] | None
    #: Its exit code, or minus the signal that ended it; None when its server is gone.
    ended: int | None


def read_answer(received: bytes) -> Answer:
    """The lines of an inspection and of its server; raises :class:`InspectionFailed`."""
    said: Mapping[str, Any] | None = None
    ended: int | None = None
    for line in received.splitlines():
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut off in the middle of it
        if not isinstance(told, dict):
            continue
        if isinstance(told.get("ended"), int):
            ended = told["ended"]
        else:
            said = told
    return Answer(said, ended)


def result_of(answer: Answer, *, cpu_seconds: int, seconds: int) -> Mapping[str, Any]:
    """What it found; raises the error that it told, or :class:`InspectionFailed`."""
    if answer.said is not None:
        found, error = answer.said.get("found"), answer.said.get("error")
        if isinstance(found, dict):
            return found
        if isinstance(error, dict):
            raise _told(error)
    ended = answer.ended or 0
    reasons = {
        -signal.SIGXCPU: f"reading it takes more than {cpu_seconds} s of processor time",
        -signal.SIGALRM: f"reading it takes longer than {seconds} s",
        -signal.SIGKILL: "its inspection was ended, as for want of memory",
    }
    why = f"its inspection ended with exit code {ended}"
    if ended < 0:
        with suppress(ValueError):
            why = f"its inspection ended by {signal.Signals(-ended).name}"
    raise InspectionFailed(_WHAT, why=reasons.get(ended, why), remedy=_REMEDY)


def _told(error: Mapping[str, Any]) -> FedgateError:
    parts = ("code", "what", "why", "remedy")
    return error_from_dict({part: str(error.get(part, ""))[:_TEXT] for part in parts})


def too_long() -> InspectionFailed:
    return InspectionFailed(
        _WHAT, why=f"it says more than {ANSWER_BYTES} bytes about itself", remedy=_REMEDY
    )


def read_manifest(told: object) -> Manifest:
    """Raises :class:`InspectionFailed` for fields or types that a manifest does not have."""
    if not isinstance(told, dict) or not set(told) <= set(_FIELDS):
        raise _malformed("fields that it does not have")
    for name, value in told.items():
        if not _FIELDS[name](value):
            raise _malformed(f"a {name} that is none")
    try:
        return Manifest.from_dict(told)
    except TypeError as error:
        raise _malformed(str(error)[:300]) from error


def read_texts(told: object) -> tuple[str, ...]:
    """Raises :class:`InspectionFailed`."""
    if not _texts(told):
        raise _malformed("no list of texts")
    assert isinstance(told, list)
    return tuple(told)


def _malformed(why: str) -> InspectionFailed:
    return InspectionFailed(_WHAT, why=f"its manifest has {why}", remedy="report it")


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str) and not (
        isinstance(value, float) and math.isnan(value)
    )


def _mapping(check: Callable[[object], bool]) -> Callable[[object], bool]:
    def of(value: object) -> bool:
        return isinstance(value, dict) and all(check(item) for item in value.values())

    return of


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


#: By the types that a manifest is declared with; a field of another type is noticed at import.
_CHECKS: Mapping[object, Callable[[object], bool]] = {
    str: _text, bool: _flag, int: _count, tuple[str, ...]: _texts,
    Mapping[str, str]: _mapping(_text), Mapping[str, Scalar]: _mapping(_scalar),
}  # fmt: skip
_FIELDS = {name: _CHECKS[kind] for name, kind in get_type_hints(Manifest).items()}
