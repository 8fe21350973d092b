"""Why a policy decided as it did, rule by rule and condition by condition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cedarpy
from cedarpy import pst

from fedgate_gateway.policy.decision import Decision, Rule
from fedgate_gateway.policy.engine import Policy, Request, ask


@dataclass(frozen=True)
class RuleTrace:
    """How one rule fared: it ``applied``, or its scope or some conditions did not hold."""

    rule: Rule
    applied: bool
    decided: bool
    in_scope: bool  # its (principal, action, resource) fit the request
    failed: tuple[str, ...] = ()  # conditions that did not hold, as Cedar text


@dataclass(frozen=True)
class Explanation:
    decision: Decision
    rules: tuple[RuleTrace, ...]


def explain(policy: Policy, request: Request) -> Explanation:
    """Decide, and try each rule and each of its conditions alone. For people, not for speed."""
    decision = policy.decide_request(request)
    parsed = policy.parsed
    traces = [
        _trace(parsed.named[key], node, request, decision) for key, node in parsed.nodes.items()
    ]
    return Explanation(decision, tuple(traces))


def _trace(rule: Rule, node: pst.Template, request: Request, decision: Decision) -> RuleTrace:
    # As a permit, a rule that is alone in its set allows exactly what it applies to.
    alone = replace(node, effect="permit")
    in_scope = _holds(replace(alone, clauses=()), request)
    failed = []
    if in_scope:
        failed = [
            _text(clause)
            for clause in node.clauses
            if not _holds(replace(alone, clauses=(clause,)), request)
        ]
    return RuleTrace(
        rule, in_scope and not failed, rule in decision.reasons, in_scope, tuple(failed)
    )


def _set(node: pst.Template) -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_pst(
        pst.PolicySet(
            templates=pst.FrozenMap(),
            static_policies=pst.FrozenMap({node.id: node}),
            template_links=(),
        )
    )


def _holds(node: pst.Template, request: Request) -> bool:
    answer = ask(_set(node), request)
    return not isinstance(answer, str) and answer.allowed and not answer.diagnostics.errors


def _text(clause: pst.Clause) -> str:
    bare = pst.Template(
        id="policy0",
        effect="permit",
        principal=pst.ScopeAny(),
        action=pst.ScopeAny(),
        resource=pst.ScopeAny(),
        clauses=(clause,),
        annotations=pst.FrozenMap(),
    )
    text = str(_set(bare))
    start = min(at for word in ("when", "unless") if (at := text.find(word)) >= 0)
    return " ".join(text[start:].rstrip().rstrip(";").split())
