"""Reading a policy's text: parse, validate against the schema, and name its rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cedarpy
from cedarpy import pst

from fedgate_gateway.policy.decision import Rule

MAX_TEXT = 256 * 1024
_PARSER_ID = re.compile(r"(?:for policy )?`?\bpolicy(\d+)\b`?,? ?")


@cache
def schema() -> cedarpy.Schema:
    """The schema of every policy, parsed once."""
    return cedarpy.Schema.from_str(
        files("fedgate_gateway.policy").joinpath("schema.cedarschema").read_text("utf-8")
    )


@dataclass(frozen=True)
class Rules:
    """A parsed policy; ``named`` maps Cedar's own ids (``policy0``) to rules."""

    handle: cedarpy.PolicySet
    nodes: Mapping[str, pst.Template]
    named: Mapping[str, Rule]


def read(text: str) -> tuple[Rules | None, tuple[str, ...]]:
    """Parse and validate; returns the rules, or None and what is wrong with them."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT:
        return None, (f"the policy is longer than {MAX_TEXT} bytes",)
    try:
        handle = cedarpy.PolicySet.from_str(text)
        parsed = handle.to_pst()
    except ValueError as error:
        return None, (str(error),)
    nodes = dict(parsed.static_policies)
    named = {key: _rule(key, node) for key, node in nodes.items()}
    found = list(_faults(parsed, list(named.values())))
    result = cedarpy.validate_policies(text, schema())
    found += [_readable(problem, named) for problem in result.errors]
    if not result.validation_passed and not result.errors:
        found.append("the policy does not fit the schema")
    return (None, tuple(found)) if found else (Rules(handle, nodes, named), ())


def _faults(parsed: pst.PolicySet, rules: Sequence[Rule]) -> list[str]:
    """What Cedar accepts and we do not."""
    found = []
    if parsed.templates:
        found.append("templates (?principal, ?resource) are never linked here and would do nothing")
    if not rules:
        found.append("the policy has no rules; it would refuse everything")
    ids = [rule.id for rule in rules]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    found += [f"two rules have the @id {i!r}; give each its own" for i in twice]
    return found


def _rule(key: str, node: pst.Template) -> Rule:
    notes = node.annotations
    name = notes.get("id") or f"rule {int(key.removeprefix('policy')) + 1}"
    return Rule(name, node.effect, (notes.get("why") or "").strip(), _actions(node.action))


def _actions(scope: object) -> tuple[str, ...]:
    match scope:
        case pst.ActionEq():
            return (scope.entity.id,)
        case pst.ActionIn():
            return tuple(entity.id for entity in scope.entities)
    return ()


def _readable(problem: cedarpy.ValidationError, named: Mapping[str, Rule]) -> str:
    rule = named.get(problem.policy_id)
    text = _PARSER_ID.sub("", problem.error)
    return f"{rule.id}: {text}" if rule else text
