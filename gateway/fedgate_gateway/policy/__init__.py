"""Policies in Cedar: each data owner's own rules, and the gateway's."""

from fedgate_gateway.policy.decision import Decision, Rule
from fedgate_gateway.policy.engine import Policy, Request, Uid, check, digest
from fedgate_gateway.policy.explain import Explanation, RuleTrace, explain
from fedgate_gateway.policy.requests import (
    EvidenceFacts,
    FileFacts,
    JoinRequest,
    ReleaseFacts,
    SubmitRequest,
    WorkloadFacts,
    decide_join,
    decide_release,
    decide_submit,
)

__all__ = [
    "Decision",
    "EvidenceFacts",
    "Explanation",
    "FileFacts",
    "JoinRequest",
    "Policy",
    "ReleaseFacts",
    "Request",
    "Rule",
    "RuleTrace",
    "SubmitRequest",
    "Uid",
    "WorkloadFacts",
    "check",
    "decide_join",
    "decide_release",
    "decide_submit",
    "digest",
    "explain",
]
