"""What a data owner's egress guard lets results hold, and what a workload cannot do without.

Rules stand per kind of task, because a coordinator chooses the kind: an answer to a question that
needs no model must not be able to carry one. A *need* is a line of TOML below ``guard``, as
``train.arrays = "unchecked"``; a workload declares it, or its adapter finds it in its files.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fedgate.errors import InvalidBundle
from fedgate.model import ITEMSIZE
from fedgate.task import TaskKind, frame_allowed

#: From the strictest to the loosest: no array at all; arrays that have name, shape and sort of
#: number of one of the task's; … of one of any task's in this job so far; whatever the workload
#: says, which can be every file that it may read.
ARRAYS = ("none", "like-task", "like-job", "unchecked")
#: Numbers of models. What is as wide as a byte carries anything, so it must be listed.
DTYPES = ("F16", "BF16", "F32", "F64", "I32", "I64")
BODY_BYTES = 64 * 1024
METRICS = 64
#: A metric with another name does not leave a site.
METRIC_NAME = re.compile(r"[A-Za-z0-9_.:/@%+\-()\[\] =]{1,200}")
#: Lines and characters of what one workload declares.
_MOST_NEEDS, _LONGEST_NEED = 32, 300


@dataclass(frozen=True)
class KindRules:
    """For the results of one kind of task."""

    arrays: str = "none"
    dtypes: tuple[str, ...] = DTYPES
    #: The part that nobody but the framework can read, errors' texts and metrics' names included.
    body_bytes: int = BODY_BYTES
    #: The most metrics in one result.
    metrics: int = METRICS


STRICT: Mapping[TaskKind, KindRules] = MappingProxyType(
    {
        TaskKind.TRAIN: KindRules("like-task"),
        TaskKind.EVALUATE: KindRules(),
        TaskKind.QUERY: KindRules(),
        TaskKind.CUSTOM: KindRules("like-task"),
    }
)


@dataclass(frozen=True)
class GuardRules:
    """What an owner's guard says, as far as others may know it beforehand."""

    frames: tuple[str, ...] = ()
    kinds: Mapping[TaskKind, KindRules] = field(default_factory=lambda: STRICT)

    def unusual(self) -> tuple[str, ...]:
        """The lines that differ from the strict rules: none where an owner opened nothing."""
        return tuple(
            str(Need(kind, rule, value))
            for kind, rules in self.kinds.items()
            for rule, value in vars(rules).items()
            if value != getattr(STRICT[kind], rule)
        )


@dataclass(frozen=True)
class Need:
    """One rule, and how loose it must be."""

    kind: TaskKind
    rule: str
    value: str | int | tuple[str, ...]

    @classmethod
    def parse(cls, line: str) -> Need:
        """Raises :class:`InvalidBundle`."""
        try:
            ((kind, rules),) = tomllib.loads(line[: _LONGEST_NEED + 1]).items()
            ((rule, value),) = rules.items()
            need = cls(TaskKind(kind), rule, tuple(value) if isinstance(value, list) else value)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise _not_one(line, "it is no line of the kind") from error
        if len(line) > _LONGEST_NEED or not need._is_possible():
            raise _not_one(line, "there is no such rule, or no such value")
        return need

    def _is_possible(self) -> bool:
        match self.rule, self.value:
            case "arrays", str(value):
                return value in ARRAYS
            case "dtypes", tuple(names):
                return bool(names) and all(type(n) is str and n in ITEMSIZE for n in names)
            case (("body_bytes" | "metrics"), int(value)):
                return type(value) is int and 0 <= value < 1 << 40
            case _:
                return False

    def __str__(self) -> str:
        return f"{self.kind}.{self.rule} = {_toml(self.value)}"

    def met_by(self, rules: KindRules) -> bool:
        match self.rule, self.value:
            case "arrays", str(value):
                return ARRAYS.index(rules.arrays) >= ARRAYS.index(value)
            case "dtypes", tuple(names):
                return set(names) <= set(rules.dtypes)
            case "body_bytes", int(value):
                return rules.body_bytes >= value
            case _:
                return isinstance(self.value, int) and rules.metrics >= self.value

    def line(self, rules: KindRules) -> str:
        """What an owner with these rules writes to meet it."""
        value = self.value
        if isinstance(value, tuple):
            value = (*rules.dtypes, *(name for name in value if name not in rules.dtypes))
        return f"[guard.{self.kind}] {self.rule} = {_toml(value)}"


def read_needs(lines: object) -> tuple[str, ...]:
    """Declared lines, checked and in their one spelling; raises :class:`InvalidBundle`."""
    if not isinstance(lines, list) or len(lines) > _MOST_NEEDS:
        raise InvalidBundle("what a workload needs of a guard must be a list of some lines")
    return tuple(str(Need.parse(line if isinstance(line, str) else "")) for line in lines)


def missing_lines(needs: Iterable[str], frames: Iterable[str], rules: GuardRules) -> list[str]:
    """What an owner with these rules would have to write, so that a workload with these needs can
    run. Kinds of which nothing is known are passed over. Raises :class:`InvalidBundle`.
    """
    lines = [
        need.line(rules.kinds[need.kind])
        for need in map(Need.parse, needs)
        if need.kind in rules.kinds and not need.met_by(rules.kinds[need.kind])
    ]
    closed = [name for name in frames if not frame_allowed(name, rules.frames)]
    return [*lines, f"[guard] frames: add {json.dumps(closed)}"] if closed else lines


def _toml(value: str | int | tuple[str, ...]) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _not_one(line: str, why: str) -> InvalidBundle:
    return InvalidBundle(
        f"{line[:80]!r} is nothing that a workload can need of a guard",
        why=why,
        remedy='write it as train.arrays = "unchecked", query.dtypes = ["U8"] or '
        "evaluate.body_bytes = 1000000",
    )
