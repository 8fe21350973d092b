"""What a job's results need of a site's guard beyond its strict rules.

A job says so in its ``meta.json``, as ``"fedgate": {"guard": ["train.arrays = \\"unchecked\\""]}``;
of FLARE's own components some are known to need more. Frames that its code names only when it runs
it lists beside that, as ``"frames": ["aux_communication:my.topic"]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedgate.errors import InvalidBundle
from fedgate.guard_rules import read_needs
from fedgate_flare.app_configs import AppConfig

_UNCHECKED = 'query.arrays = "unchecked"'
#: What cannot be read, as of encrypted models and of private set intersection.
_OPAQUE_BYTES = 16 * 1024 * 1024
_CCWF = "nvflare.app_common.ccwf."
_CROSS_SITE = ("CrossSiteModelEval", "CrossSiteEval", "NumpyCrossSiteEval")
_TRAINING = ("ScatterAndGather", "FedAvg", "FedOpt", "Scaffold", "CyclicController", "FedProx")
_MOST_FRAMES = 64
_FRAME = re.compile(r"[A-Za-z0-9_.-]{1,80}:(?=.)[A-Za-z0-9_./-]{0,100}\*?")
#: The last part of a class's name -> the lines that it needs.
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "InitializeGlobalWeights": (_UNCHECKED,),
    "HEModelEncryptor": (f"train.body_bytes = {_OPAQUE_BYTES}",),
    "DhPSIController": (f"custom.body_bytes = {_OPAQUE_BYTES}",),
    "KMeansAssembler": ('train.arrays = "unchecked"',),
    "SVMAssembler": ('train.arrays = "unchecked"',),
    "ModelQuantizer": ('train.dtypes = ["U8"]',),
}


def guard_of(meta: Mapping[str, Any], configs: Iterable[AppConfig]) -> tuple[str, ...]:
    """Lines as :class:`fedgate.guard_rules.Need` reads them; raises :class:`InvalidBundle`."""
    found = set(_declared(meta))
    for each in configs:
        paths = [path for path, _ in each.components()]
        names = {path.rsplit(".", 1)[-1] for path in paths}
        for name in names:
            found.update(_KNOWN.get(name, ()))
        if each.role != "server":
            continue
        if any(path.startswith(_CCWF) for path in paths):  # its model is asked for at the end
            found.add(_UNCHECKED)
        if names.intersection(_CROSS_SITE):
            trained = any(name.startswith(_TRAINING) for name in names)
            found.add('query.arrays = "like-job"' if trained else _UNCHECKED)
    if _UNCHECKED in found:
        found.discard('query.arrays = "like-job"')
    return tuple(sorted(found))


def _declared(meta: Mapping[str, Any]) -> tuple[str, ...]:
    return read_needs(_ours(meta).get("guard", []))


def frames_of(meta: Mapping[str, Any]) -> tuple[str, ...]:
    """Frames that the job's author lists; raises :class:`InvalidBundle`."""
    frames = _ours(meta).get("frames", [])
    if not isinstance(frames, list) or len(frames) > _MOST_FRAMES:
        raise InvalidBundle("meta.json: 'frames' must be a list of some channel:topic")
    for frame in frames:
        if not isinstance(frame, str) or not _FRAME.fullmatch(frame):
            raise InvalidBundle(
                f"meta.json: {str(frame)[:80]!r} is no frame", why="it must be channel:topic"
            )
    return tuple(frames)


def _ours(meta: Mapping[str, Any]) -> dict[str, Any]:
    ours = meta.get("fedgate", {})
    if not isinstance(ours, dict) or not set(ours) <= {"guard", "frames"}:
        raise InvalidBundle("meta.json: 'fedgate' may hold 'guard' and 'frames', lists of lines")
    return ours
