"""FLARE's Shareables as neutral tasks and results, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DataKind, MetaKey
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants

from fedgate.errors import InvalidMessage
from fedgate.guard_rules import METRIC_NAME, METRICS
from fedgate.task import Failure, TaskKind

#: Public properties of a site that may travel with its results: FLContexts collect much else.
SITE_PROPERTIES = frozenset({"current_round"})
#: What FLARE itself needs to know of a message's sender.
_IDENTITY = frozenset(
    {ReservedKey.IDENTITY_NAME, ReservedKey.RUN_NUM, ReservedKey.FQSN, ReservedKey.IS_LEAF}
)
#: Return codes of results that carry an answer.
ANSWERS = frozenset({ReturnCode.OK, ReturnCode.EARLY_TERMINATION})
_MAX_METRICS = METRICS  # what strict guards let through
_SAID, _SAID_CHARS = "__fedgate_said__", 4000
_KINDS = (
    ("train", TaskKind.TRAIN),
    ("valid", TaskKind.EVALUATE),
    ("eval", TaskKind.EVALUATE),
    ("submit_model", TaskKind.QUERY),
    ("get_", TaskKind.QUERY),
)
_CODES = {
    Failure.REFUSED: ReturnCode.TASK_RESULT_FILTER_ERROR,
    Failure.CANCELLED: ReturnCode.TASK_ABORTED,
}


def kind_of(task_name: str) -> TaskKind:
    name = task_name.lower()
    return next((kind for part, kind in _KINDS if part in name), TaskKind.CUSTOM)


def round_of(message: Shareable) -> int:
    """FLARE counts rounds from 0; Fedgate from 1, with 0 for "no round"."""
    value = message.get_header(AppConstants.CURRENT_ROUND, None)
    return value + 1 if type(value) is int and 0 <= value < 1 << 31 else 0


def expect_shareable(value: Any) -> Shareable:
    if not isinstance(value, Shareable):
        raise InvalidMessage("a FLARE message must be a Shareable", why=type(value).__name__)
    headers = value.get(ReservedHeaderKey.HEADERS, {})
    if not isinstance(headers, dict):
        raise InvalidMessage("a FLARE message's headers must be a dictionary")
    if not isinstance(value.get_return_code(), str):
        raise InvalidMessage("a FLARE message's return code must be a text")
    return value


def detach_peer(message: Shareable, allowed: frozenset[str] | None = None) -> None:
    """Turn the peer context of an outgoing message into plain properties.

    ``allowed``: the only properties that may travel; None lets every public one through.
    """
    context = message.get_peer_context()
    properties = context.get_all_public_props() if isinstance(context, FLContext) else {}
    if allowed is not None:
        properties = {k: v for k, v in properties.items() if k in allowed}
    message.set_peer_context(None)
    message.set_peer_props(properties)


def restricted(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of a sender that may travel with an auxiliary message."""
    return {k: v for k, v in properties.items() if k in SITE_PROPERTIES or k in _IDENTITY}


def restrict_peer(message: Shareable) -> None:
    """Keep of a message's peer context what may travel."""
    context = message.get_peer_context()
    if isinstance(context, FLContext):
        kept = FLContext()
        kept.set_public_props(restricted(context.get_all_public_props()))
        message.set_peer_context(kept)
    if isinstance(properties := message.get_peer_props(), dict):
        message.set_peer_props(restricted(properties))


def peer_properties(message: Shareable, allowed: frozenset[str] | None = None) -> dict[str, Any]:
    """The properties an incoming message claims for its sender, checked."""
    properties = message.get_peer_props() or {}
    if not isinstance(properties, dict) or any(not isinstance(k, str) for k in properties):
        raise InvalidMessage("a FLARE message's peer properties must be a dictionary")
    if allowed is None:
        return properties
    return {k: v for k, v in properties.items() if k in allowed and type(v) in (int, str, bool)}


def peer_context(name: str, job_id: str, properties: Mapping[str, Any]) -> FLContext:
    """A peer's context whose identity is the one we know, whatever the message claims."""
    context = FLContext()
    context.set_public_props(
        {
            **properties,
            ReservedKey.IDENTITY_NAME: name,
            ReservedKey.RUN_NUM: job_id,
            ReservedKey.FQSN: name,
            ReservedKey.IS_LEAF: True,
        }
    )
    return context


def failure(code: str, said: str) -> Shareable:
    """A reply without an answer. ``said`` is a site's own text: it can hold a row of data, so it
    travels sealed and into the job's log, and never into a reason that a gateway stores.
    """
    reply = make_reply(code)
    reply.set_header(_SAID, said)
    return reply


def said(message: Shareable) -> str:
    text = message.get_header(_SAID, "")
    return text[:_SAID_CHARS] if isinstance(text, str) else ""


def code_of(failure: Failure) -> str:
    """The return code that tells a workflow what became of a task."""
    code: str = _CODES.get(failure, ReturnCode.EXECUTION_EXCEPTION)
    return code


def task_name_of(message: Shareable) -> str:
    name = message.get_header(ReservedHeaderKey.TASK_NAME) or message.get_header(
        FLContextKey.TASK_NAME, ""
    )
    return str(name)


def metrics_of(message: Shareable) -> tuple[dict[str, float], int | None]:
    """Metrics and the number of examples that a result reports, as far as they are plain numbers.

    Cross-site evaluation names the model that was evaluated: its metrics become ``model/metric``.
    """
    dxo = message.get("DXO")
    if not isinstance(dxo, dict):
        return {}, None
    meta = dxo.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    is_metrics = dxo.get("kind") in (DataKind.METRICS, "METRICS")
    raw = dxo.get("data") if is_metrics else meta.get(MetaKey.INITIAL_METRICS)
    owner = message.get_cookie(AppConstants.MODEL_OWNER)
    found: dict[str, float] = {}
    _flatten(raw, f"{owner}/" if isinstance(owner, str) and owner else "", found, 0)
    steps = meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND)
    examples = None
    if isinstance(steps, int | float) and math.isfinite(steps) and 0 < steps < 1 << 53:
        examples = int(steps)
    return found, examples


def _flatten(value: Any, path: str, found: dict[str, float], depth: int) -> None:
    if not isinstance(value, Mapping) or depth > 4:
        return
    for key, inner in value.items():
        if len(found) >= _MAX_METRICS:
            return
        if isinstance(inner, Mapping):
            _flatten(inner, f"{path}{key}/", found, depth + 1)
        elif isinstance(inner, int | float) or hasattr(inner, "item"):
            try:
                number = float(inner)
            except (TypeError, ValueError, OverflowError):
                continue
            name = f"{path}{key}"[:200]
            if math.isfinite(number) and METRIC_NAME.fullmatch(name):
                found[name] = number


def drop_payloads(context: FLContext) -> None:
    """Contexts sit in reference cycles: let go of the models in them now, not at the next gc."""
    for each in (context, context.get_peer_context()):
        if each is None:
            continue
        for key in [k for k, v in each.props.items() if isinstance(v.get("value"), Shareable)]:
            each.props.pop(key, None)
