"""The egress guard: the last look at a result, on the site's own copy, before it is sealed."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedgate.codes import Code
from fedgate.errors import Denied, FedgateError, InvalidModel
from fedgate.guard_rules import METRIC_NAME, KindRules
from fedgate.model import Model, Tensor
from fedgate.notice import Notice, public
from fedgate.refused_frames import how_to_allow
from fedgate.task import Frame, Result, Task, TaskKind, frame_allowed
from fedgate_gateway.child.notes import finite
from fedgate_gateway.config import Guard

_BLOCK = 1 << 20
#: Bytes that a frame counts for at least: a flood of empty ones is one, too.
_FRAME = 64
#: What a framework needs to describe one array in a result's body, whose size is the model's.
_PER_ARRAY = 256
#: More examples than this are a number in disguise.
_EXAMPLES = 10**12
#: Tensors of tasks that one job's guard remembers.
_REMEMBERED = 200_000
#: By name: the sort of its numbers, and its shape.
Signature = dict[str, tuple[str, tuple[int, ...]]]


class GuardRefused(Denied):
    """``rule`` is the one that was broken, by its name in the configuration. What more is said may
    quote the result, and is for the owner alone: others hear the rule, by its code.
    """

    def __init__(self, rule: str, what: str, *, why: str = "") -> None:
        code = Code(f"guard-{rule.replace('.', '-').replace('_', '-')}")
        super().__init__(what, why=why or f"guard.{rule}", notice=Notice(code))
        self.rule = f"guard.{rule}"


class Flooded(Denied):
    """More opaque traffic than the owner allows one job: it ends here."""


@dataclass(frozen=True)
class _Asked:
    kind: TaskKind
    signature: Signature


@dataclass
class EgressGuard:
    """Of one job. ``check_*`` raise :class:`Denied` with the rule that was broken."""

    rules: Guard
    _asked: dict[str, deque[_Asked]] = field(default_factory=lambda: defaultdict(deque))
    _seen: Signature = field(default_factory=dict)
    _kinds: Mapping[TaskKind, KindRules] = field(init=False)
    _frame_bytes: int = 0

    def __post_init__(self) -> None:
        self._kinds = self.rules.rules().kinds

    def remember(self, task: Task, model: memoryview | bytes | None) -> None:
        """Keep what was asked, and what its model looks like, to compare the result with."""
        signature = {} if model is None else _signature(Model.parse(model))
        self._asked[task.id].append(_Asked(task.kind, signature))
        if len(self._seen) + len(signature) <= _REMEMBERED:
            self._seen.update(signature)

    def check_result(self, result: Result, model: memoryview | None) -> None:
        asked = self._take(result.task)
        kind, rules = asked.kind, self._kinds[asked.kind]
        parsed = self._parse(model)
        self._check_body(kind, rules, result, parsed)
        self._check_numbers(kind, rules, result)
        if parsed is not None:
            self._check_arrays(asked, rules, parsed)

    def _take(self, task: str) -> _Asked:
        waiting = self._asked.get(task)
        if not waiting:
            raise GuardRefused("task", "a result for a task that nobody asked for")
        asked = waiting.popleft()
        if not waiting:
            del self._asked[task]
        return asked

    def _parse(self, model: memoryview | None) -> Model | None:
        if model is None:
            return None
        if len(model) > self.rules.result_bytes:
            raise GuardRefused(
                "result_bytes",
                "the result's model is too large",
                why=f"{len(model)} bytes, guard.result_bytes is {self.rules.result_bytes}",
            )
        try:
            parsed = Model.parse(model)
            header = parsed.header()
        except InvalidModel as error:
            raise GuardRefused(
                "model", "the result's model is malformed", why=str(error)
            ) from error
        if model[: len(header)] != header:  # blanks and spellings of JSON can say something, too
            raise GuardRefused("model", "the header of the result's model is not written as ours")
        return parsed

    def _check_body(
        self, kind: TaskKind, rules: KindRules, result: Result, model: Model | None
    ) -> None:
        opaque, arrays = _opaque_bytes(result, model), 0 if model is None else len(model)
        if opaque > rules.body_bytes + _PER_ARRAY * arrays:
            raise GuardRefused(
                f"{kind}.body_bytes",
                "the result's opaque part is too large",
                why=f"{opaque} bytes, guard.{kind}.body_bytes is {rules.body_bytes}, "
                f"and {_PER_ARRAY} more for each of {arrays} arrays",
            )

    def _check_numbers(self, kind: TaskKind, rules: KindRules, result: Result) -> None:
        if len(result.metrics) > rules.metrics:
            raise GuardRefused(
                f"{kind}.metrics",
                "the result has too many metrics",
                why=f"{len(result.metrics)}, guard.{kind}.metrics is {rules.metrics}",
            )
        for name in result.metrics:
            if not METRIC_NAME.fullmatch(name):
                raise GuardRefused(
                    f"{kind}.metrics", "a metric has a name that is none", why=f"{name!r:.300}"
                )
        if self.rules.finite and not finite(result.metrics):
            raise GuardRefused("finite", "the result's metrics are not finite")
        if result.examples is not None and result.examples > _EXAMPLES:
            raise GuardRefused(
                f"{kind}.metrics", "the result claims too many examples", why=f"{result.examples}"
            )

    def _check_arrays(self, asked: _Asked, rules: KindRules, model: Model) -> None:
        kind = asked.kind
        if rules.arrays == "none" and len(model):
            raise GuardRefused(
                f"{kind}.arrays",
                f"a result of kind {kind} holds arrays",
                why=f'{len(model)} of them, guard.{kind}.arrays is "none"',
            )
        if rules.arrays != "unchecked":
            expected = self._seen if rules.arrays == "like-job" else asked.signature
            for name, found in _signature(model).items():
                if expected.get(name) != found:
                    raise GuardRefused(
                        f"{kind}.arrays",
                        "the result's model differs in shape from the task's",
                        why=f"{name!r:.300} is {found}, expected was {expected.get(name)}; "
                        f'guard.{kind}.arrays is "{rules.arrays}"',
                    )
        for name, tensor in model.items():
            if tensor.dtype not in rules.dtypes:
                raise GuardRefused(
                    f"{kind}.dtypes",
                    f"a result of kind {kind} holds an array of {tensor.dtype}",
                    why=f"{name!r:.300}; guard.{kind}.dtypes lists {', '.join(rules.dtypes)}",
                )
            if self.rules.finite and not _finite(tensor):
                raise GuardRefused(
                    "finite", f"tensor {name!r:.300} of the result holds NaN or infinity"
                )

    def check_frame(self, frame: Frame) -> None:
        if not frame_allowed(frame.name, self.rules.frames):
            raise Denied(
                f"opaque traffic {frame.name!r} may not cross at this site",
                why="it is not listed in guard.frames",
                remedy=f"its owner can {how_to_allow(frame.name[:200])}",
                notice=Notice(Code.GUARD_FRAMES),
            )
        self._frame_bytes += _FRAME + len(frame.name.encode()) + len(frame.body)
        if self._frame_bytes > self.rules.frame_bytes:
            raise Flooded(
                "too much opaque traffic for this job",
                why=f"{self._frame_bytes} bytes with {frame.name!r:.200}, "
                f"guard.frame_bytes is {self.rules.frame_bytes}",
                remedy="let it send less, or ask the data owner for more",
                notice=Notice(
                    Code.GUARD_FRAME_BYTES,
                    {"bytes": self._frame_bytes, "limit": self.rules.frame_bytes},
                ),
            )


def _signature(model: Model) -> Signature:
    """A float of another width is still that float: the first weights are often narrower."""
    return {name: (_sort(tensor.dtype), tensor.shape) for name, tensor in model.items()}


def _sort(dtype: str) -> str:
    return "float" if dtype in ("F16", "BF16", "F32", "F64") else dtype


def _opaque_bytes(result: Result, model: Model | None) -> int:
    """Everything that can say anything: names of metrics and a failure's reason can, too."""
    texts = [*result.metrics, "" if result.error is None else result.error.reason]
    if model is not None:
        texts += [text for pair in model.metadata.items() for text in pair]
    return len(result.body) + sum(len(text.encode()) for text in texts) + 8 * len(result.metrics)


def _finite(tensor: Tensor) -> bool:
    """Block by block, so that the check stays in the processor's cache."""
    array = tensor.numpy().reshape(-1)
    if array.dtype.kind in "iub" or array.size == 0:
        return True
    step = max(1, _BLOCK // array.dtype.itemsize)
    for start in range(0, array.size, step):
        block = array[start : start + step]
        if array.dtype.kind not in "fc":  # ml_dtypes: BF16, FP8
            block = block.astype(np.float32)
        if not np.isfinite(block).all():
            return False
    return True


def denied(error: FedgateError) -> str:
    """What the job hears: the rule and numbers. Names that it chose itself stay at the site."""
    return f"the site's egress guard: {public(error).sentence}"
