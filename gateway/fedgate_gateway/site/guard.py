"""The egress guard: the last look at a result, on the site's own copy, before it is sealed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedgate.codes import Code
from fedgate.errors import Denied, FedgateError, InvalidModel
from fedgate.model import Model, Tensor
from fedgate.notice import Notice, public
from fedgate.task import Frame, Result, Task, TaskKind, frame_allowed
from fedgate_gateway.child.notes import finite
from fedgate_gateway.config import Guard

_BLOCK = 1 << 20
#: Bytes that a frame counts for at least: a flood of empty ones is one, too.
_FRAME = 64
Signature = tuple[tuple[str, str, tuple[int, ...]], ...]


class Flooded(Denied):
    """More opaque traffic than the owner allows one job: it ends here."""


@dataclass
class EgressGuard:
    """Of one job. ``check_*`` raise :class:`Denied` with the rule that was broken."""

    rules: Guard
    _signatures: dict[str, Signature] = field(default_factory=dict)
    _frame_bytes: int = 0

    def remember(self, task: Task, model: memoryview | bytes | None) -> None:
        """Keep what a train task's model looks like, to compare its result with."""
        if self.rules.match == "signature" and task.kind is TaskKind.TRAIN and model is not None:
            self._signatures[task.id] = Model.parse(model).signature()

    def check_result(self, result: Result, model: memoryview | None) -> None:
        expected = self._signatures.pop(result.task, None)
        opaque = _opaque_bytes(result)
        if opaque > self.rules.body_bytes:
            raise Denied(
                "the result's opaque part is too large",
                why=f"{opaque} bytes, guard.body_bytes is {self.rules.body_bytes}",
                notice=Notice(Code.GUARD_BODY, {"bytes": opaque, "limit": self.rules.body_bytes}),
            )
        if self.rules.finite and not finite(result.metrics):
            raise Denied("the result's metrics are not finite", notice=Notice(Code.GUARD_FINITE))
        if model is None:
            return
        if len(model) > self.rules.result_bytes:
            raise Denied(
                "the result's model is too large",
                why=f"{len(model)} bytes, guard.result_bytes is {self.rules.result_bytes}",
                notice=Notice(
                    Code.GUARD_RESULT, {"bytes": len(model), "limit": self.rules.result_bytes}
                ),
            )
        try:
            parsed = Model.parse(model)
        except InvalidModel as error:
            raise Denied(
                "the result's model is malformed",
                why=str(error),
                notice=Notice(Code.INVALID_MODEL),
            ) from error
        if expected is not None and parsed.signature() != expected:
            raise Denied(
                "the result's model differs in shape from the task's",
                why=_difference(expected, parsed.signature()),
                notice=Notice(Code.GUARD_MATCH),
            )
        if self.rules.finite:
            for name, tensor in parsed.items():
                if not _finite(tensor):
                    raise Denied(
                        f"tensor {name!r} of the result holds NaN or infinity",
                        notice=Notice(Code.GUARD_FINITE),
                    )

    def check_frame(self, frame: Frame) -> None:
        if not frame_allowed(frame.name, self.rules.frames):
            raise Denied(
                f"opaque traffic {frame.name!r} may not cross at this site",
                why="it is not listed in guard.frames",
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


def _opaque_bytes(result: Result) -> int:
    """Everything that can say anything: names of metrics and a failure's reason can, too."""
    names = sum(len(name.encode()) + 8 for name in result.metrics)
    reason = "" if result.error is None else result.error.reason
    return len(result.body) + names + len(reason.encode())


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


def _difference(expected: Signature, found: Signature) -> str:
    missing, extra = set(expected) - set(found), set(found) - set(expected)
    parts = [f"missing {sorted(missing)[:3]}"] if missing else []
    return ", ".join([*parts, f"unexpected {sorted(extra)[:3]}"] if extra else parts)


def denied(error: FedgateError) -> str:
    """What the job hears: the rule and numbers. Names that it chose itself stay at the site."""
    return f"the site's egress guard: {public(error).sentence}"
