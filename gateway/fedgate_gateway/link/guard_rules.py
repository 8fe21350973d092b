"""A site's guard in its hello: what others may know of it beforehand."""

from __future__ import annotations

from fedgate.guard_rules import ARRAYS, GuardRules, KindRules
from fedgate.task import TaskKind
from fedgate_proto.v1 import link_pb2 as pb


def write_guard(rules: GuardRules) -> pb.Guard:
    return pb.Guard(
        frames=rules.frames,
        kinds=[
            pb.KindGuard(
                kind=kind,
                arrays=each.arrays,
                dtypes=each.dtypes,
                body_bytes=each.body_bytes,
                metrics=each.metrics,
            )
            for kind, each in rules.kinds.items()
        ],
    )


def read_guard(guard: pb.Guard) -> GuardRules:
    """Kinds that it does not say, or says in words unknown here, are left out."""
    kinds = {
        TaskKind(each.kind): KindRules(
            each.arrays, tuple(each.dtypes), each.body_bytes, each.metrics
        )
        for each in guard.kinds
        if each.kind in set(TaskKind) and each.arrays in ARRAYS
    }
    return GuardRules(tuple(guard.frames), kinds)
