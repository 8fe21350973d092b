"""The neutral unit of work: a task goes to one site, a result comes back; both belong to a round.

``model`` is every array the adapter could lift out of the framework's message; ``body`` is the
rest of that message, opaque to us. Lifting arrays is what makes governance possible: policy,
egress guard and privacy work on ``model`` and ``metrics``, while ``body`` is metered and capped.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fedgate.model import Model

#: What a value in ``metrics`` or ``config`` may be; it must survive JSON.
Scalar = bool | int | float | str


class TaskKind(enum.StrEnum):
    TRAIN = "train"
    EVALUATE = "evaluate"
    QUERY = "query"
    CUSTOM = "custom"


class Failure(enum.StrEnum):
    """Why a result carries no answer."""

    WORKLOAD = "workload"  # the site's workload code raised or its process died
    UNAVAILABLE = "unavailable"  # the site is gone, or its session ended
    TIMEOUT = "timeout"  # the task's deadline passed
    REFUSED = "refused"  # the site's guard or policy refused to send the result
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class TaskError:
    failure: Failure
    reason: str


@dataclass(frozen=True)
class Task:
    """Work for one site. ``round`` is 0 where the framework has no such notion.

    Tasks with the same ``batch`` were sent out together, so that their results stand for each
    other when the sites behind an output are counted. An adapter whose framework sends one batch
    in several dispatches gives it a name; without one a dispatch, or a numbered round, is a batch.
    A site never sees it.

    A ``step`` is the framework's own unit of work that the task is part of, such as one broadcast
    or one relay: it is recorded as one round, however long it takes and whoever gets its task
    again, until the adapter calls ``Federation.end_step``. Without one, tasks of one kind and
    number make a round, until a task of another is sent or something is published. No site sees it
    either.
    """

    id: str
    site: str
    kind: TaskKind
    round: int = 0
    name: str = ""  # the framework's own name of the action, e.g. "train.warmup"
    model: Model | None = None
    config: Mapping[str, Scalar] = field(default_factory=dict)
    body: bytes = b""
    batch: str = ""
    step: str = ""


@dataclass(frozen=True)
class Result:
    """A site's answer to a task, or the reason why there is none."""

    task: str
    site: str
    model: Model | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    examples: int | None = None
    body: bytes = b""
    error: TaskError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True)
class Frame:
    """Framework traffic that is neither task nor result (FLARE aux, events, streams).

    Counted for each site, channel and direction, capped, and refused unless the data owner's
    policy lists ``channel:topic``.
    """

    channel: str
    topic: str
    body: bytes

    @property
    def name(self) -> str:
        return f"{self.channel}:{self.topic}"


def frame_allowed(name: str, rules: Iterable[str]) -> bool:
    """Does a rule list ``channel:topic``? A rule that ends with ``*`` lists all that begins so.

    A name with ``*`` at its end is what a workload asks for beforehand: only a rule at least as
    wide covers it.
    """
    return any(
        name == rule or (rule.endswith("*") and ":" in rule and name.startswith(rule[:-1]))
        for rule in rules
    )


@dataclass(frozen=True)
class Round:
    """What happened in one round, for people, audit and metrics; never any weight.

    A site that got several tasks can both have answered and have failed.
    """

    number: int  # counts rounds as they open, whatever the workload calls them
    kind: TaskKind
    sites: tuple[str, ...]  # that were sent a task
    answered: tuple[str, ...] = ()
    failed: Mapping[str, Failure] = field(default_factory=dict)  # that gave no answer, and why
    #: Sites that a task was meant for and that could not be sent it.
    unreached: Mapping[str, Failure] = field(default_factory=dict)
    #: Sites whose task was under way when the job ended; a round with any did not finish.
    abandoned: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)  # weighted mean over the sites
    metric_sites: Mapping[str, int] = field(default_factory=dict)  # how many reported each of them
    metrics_left_out: int = 0  # values of metrics beyond what a round can tell
    tasks: int = 0
    answers: int = 0
    late: int = 0  # answers to tasks that had been given up
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
