"""Asking a policy, fail closed.

Cedar skips a ``forbid`` whose condition cannot be evaluated, and would then allow what it forbids.
So here every request is typed by the schema, and any error means no. Each owner's policy is asked
by itself: in one merged set, one owner's ``permit`` would open another's data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from fedgate.errors import InvalidConfig
from fedgate_gateway.policy.decision import Decision, Rule
from fedgate_gateway.policy.rules import MAX_TEXT, Rules, read, schema

#: JSON bytes of a request's context with its entities.
MAX_CONTEXT = 256 * 1024
#: Actions that only a rule which names them permits: who wrote ``permit (principal, action,
#: resource)`` to let jobs in has not let out files.
_NAMED = frozenset({"release_files"})


@dataclass(frozen=True)
class Uid:
    """A Cedar entity: ``User::"alice"``."""

    type: str
    id: str

    def to_cedar(self) -> dict[str, str]:
        return {"type": self.type, "id": self.id}


@dataclass(frozen=True)
class Request:
    """What a policy is asked: may ``principal`` do ``action`` to ``resource``?"""

    action: str
    principal: Uid
    resource: Uid
    context: Mapping[str, Any]
    #: What the context refers to, in Cedar's JSON.
    entities: Sequence[Mapping[str, Any]] = ()


class Policy:
    """One owner's policy, parsed once. Immutable and safe to share between threads."""

    def __init__(self, name: str, text: str, parsed: Rules) -> None:
        self.name = name
        self.text = text
        self._rules = parsed
        self._digest = hashlib.sha256(text.encode()).digest()

    @classmethod
    def from_text(cls, text: str, name: str) -> Policy:
        """Parse and validate; raises :class:`InvalidConfig` that lists every problem."""
        parsed, problems = read(text)
        if parsed is None:
            raise InvalidConfig(
                f"the policy of {name} does not load",
                why="; ".join(problems),
                remedy="correct it until `fedgate policy check` finds nothing",
            )
        return cls(name, text, parsed)

    @classmethod
    def load(cls, path: Path, name: str = "") -> Policy:
        """Read the policy in a file."""
        return cls.from_text(_read(path), name or path.stem)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text, as a site's decisions bind it."""
        return self._digest

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(self._rules.named.values())

    @property
    def parsed(self) -> Rules:
        return self._rules

    def decide(
        self, action: str, principal: Uid, resource: Uid, context: Mapping[str, Any]
    ) -> Decision:
        """Never raises: whatever goes wrong is a decision that says no."""
        return self.decide_request(Request(action, principal, resource, context))

    def decide_request(self, request: Request) -> Decision:
        answer = ask(self._rules.handle, request)
        if isinstance(answer, str):
            return Decision(self.name, allowed=False, errors=(answer,))
        named = self._rules.named
        errors = tuple(answer.diagnostics.errors)
        unknown = [key for key in answer.diagnostics.reasons if key not in named]
        reasons = tuple(named[key] for key in answer.diagnostics.reasons if key in named)
        if answer.decision is cedarpy.Decision.NoDecision and not errors:
            errors = ("the engine came to no decision",)
        if unknown:
            errors += ("the engine named rules that are not in the policy",)
        if request.action in _NAMED and not any(request.action in r.actions for r in reasons):
            reasons = ()
        permitted = answer.decision is cedarpy.Decision.Allow and bool(reasons)
        allowed = permitted and not errors and all(rule.effect == "permit" for rule in reasons)
        offers = () if reasons or errors else self._offers(request.action)
        return Decision(self.name, allowed, () if errors else reasons, errors, offers)

    def _offers(self, action: str) -> tuple[str, ...]:
        permits = [rule for rule in self.rules if rule.effect == "permit" and rule.why]
        return tuple(rule.why for rule in permits if not rule.actions or action in rule.actions)


def ask(handle: cedarpy.PolicySet, request: Request) -> cedarpy.AuthzResult | str:
    """Cedar's own answer, or why there is none. Only :class:`Policy` turns it into a decision."""
    try:
        context = json.dumps(request.context, allow_nan=False)
        entities = json.dumps(list(request.entities), allow_nan=False)
        size = len(context) + len(entities)
        if size > MAX_CONTEXT:
            return f"the request is too large: {size} bytes, at most {MAX_CONTEXT}"
        return cedarpy.is_authorized(
            {
                "principal": request.principal.to_cedar(),
                "action": Uid("Action", request.action).to_cedar(),
                "resource": request.resource.to_cedar(),
                "context": context,
            },
            handle,
            cedarpy.Entities.from_json_str(entities, schema()),
            schema(),
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is no Exception
        return f"{type(error).__name__}: {error}"


def digest(policy: Policy) -> bytes:
    return policy.digest


def check(path: Path) -> tuple[str, ...]:
    """Every problem of the policy in a file; empty when it would load."""
    return read(_read(path))[1]


def _read(path: Path) -> str:
    try:
        return path.read_bytes()[: MAX_TEXT + 1].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"cannot read the policy {path}", why=str(error)) from error
