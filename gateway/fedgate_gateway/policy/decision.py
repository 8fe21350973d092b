"""The outcome of asking a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fedgate.errors import Denied

Effect = Literal["permit", "forbid"]


@dataclass(frozen=True)
class Rule:
    """One statement of a policy, as people refer to it."""

    id: str  # its @id, or "rule 3"
    effect: Effect
    why: str  # its @why: the sentence that a submitter reads
    actions: tuple[str, ...] = ()  # that it names; none: it is about any


@dataclass(frozen=True)
class Decision:
    """Allowed only when a rule permits, none forbids, and every rule could be evaluated."""

    policy: str
    allowed: bool
    #: The rules that decided: the permits, or the forbids; none when nothing permits it.
    reasons: tuple[Rule, ...] = ()
    #: Why the request could not be evaluated; any of these means no.
    errors: tuple[str, ...] = ()
    #: When no rule matched: what the permits would have allowed.
    offers: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """One line for a person."""
        if self.errors:
            return "the policy could not be evaluated: " + "; ".join(self.errors)
        return "; ".join(self.sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What its owner has written of it; nothing of the request, which errors can quote."""
        if self.errors:
            return ()
        if self.reasons:
            return tuple(rule.why or f"rule {rule.id!r} says so" for rule in self.reasons)
        return ("no rule permits it", *(f"permitted is: {offer}" for offer in self.offers))

    def require(self) -> None:
        """Raise :class:`~fedgate.errors.Denied` unless allowed."""
        if not self.allowed:
            raise Denied(f"the policy of {self.policy} says no", why=self.why)
