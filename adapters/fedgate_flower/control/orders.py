"""What ``flwr run`` sends, as a submission: the app, its overrides, and our own settings.

``flwr run`` has no option for sites or datasets, so they are settings of the run whose names start
with ``fedgate.``; an app cannot have such settings of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from fedgate.errors import InvalidBundle, InvalidMessage
from fedgate.front_door import Order
from fedgate.job import SERIES
from fedgate.task import Scalar
from fedgate_flower.control import wire_pb2 as pb
from fedgate_flower.control.runs import project_of
from fedgate_flower.waiting import PREFIX, SETTINGS

SITES, DATASETS = f"{PREFIX}sites", f"{PREFIX}datasets"
MIN_SITES, TASK_SECONDS = f"{PREFIX}min-sites", f"{PREFIX}task-seconds"
_OURS = frozenset({SITES, DATASETS, MIN_SITES, TASK_SECONDS})
_MOST_SETTINGS = 1000
#: What other commands have options for, in the words of this one.
IN_FLWR = f'with flwr run: --run-config \'{SITES}="a,b" {DATASETS}="c" {MIN_SITES}=2\''
_LONGEST_KEY = 255
_LARGEST_INT = 2**63 - 1


def read(request: pb.StartRunRequest) -> tuple[bytes, Order]:
    """The bundle and what its submitter chose.

    Raises :class:`InvalidMessage` or :class:`InvalidBundle` for what cannot be.
    """
    if request.app_spec:
        raise InvalidMessage(
            f"apps are not fetched from Flower Hub ({request.app_spec[:100]})",
            why="people approve the files that you send, and nobody else's",
            remedy="fetch the app with `flwr new`, then `flwr run` its directory",
        )
    if request.HasField("override_federation_config"):
        raise InvalidMessage(
            "there is nothing to simulate here",
            why="a federation of this gateway has real sites",
            remedy="leave --federation-config out, and `options` of the connection",
        )
    config = _config(request)
    if request.series_id and config.setdefault(SERIES, request.series_id) != request.series_id:
        raise InvalidMessage(f"the run names two series: its series_id and {SERIES}")
    _no_typos(config)
    order = Order(
        project=project_of(request.federation),
        sites=_names(config, SITES),
        datasets=_names(config, DATASETS),
        min_sites=_whole(config, MIN_SITES),
        task_seconds=_seconds(config, TASK_SECONDS),
        config={key: value for key, value in config.items() if key not in _OURS},
    )
    return _bundle(request.fab), order


def _no_typos(config: Mapping[str, Scalar]) -> None:
    known = sorted(_OURS | set(SETTINGS))
    for key in config:
        if key.startswith(PREFIX) and key not in known:
            raise InvalidMessage(
                f"there is no setting {key!r:.80}",
                why=f"those that start with {PREFIX} are: {', '.join(known)}",
                remedy="name one of them in --run-config; an app's own settings start otherwise",
            )


def _bundle(fab: pb.Fab) -> bytes:
    if not fab.content:
        raise InvalidBundle("the request holds no app", remedy="update flwr, and try again")
    if hashlib.sha256(fab.content).hexdigest() != fab.hash_str:
        raise InvalidBundle("the app does not have the hash that came with it")
    return fab.content


def _config(request: pb.StartRunRequest) -> dict[str, Scalar]:
    if len(request.override_config) > _MOST_SETTINGS:
        raise InvalidMessage("too many settings", why=f"more than {_MOST_SETTINGS}")
    return {_key(key): _value(key, value) for key, value in request.override_config.items()}


def _key(key: str) -> str:
    if not key or len(key) > _LONGEST_KEY or not key.isprintable():
        raise InvalidMessage("a setting's name is too long, or cannot be read", why=f"{key!r:.60}")
    return key


def _value(key: str, scalar: pb.Scalar) -> Scalar:
    kind = scalar.WhichOneof("scalar")
    if kind in (None, "blob"):
        raise InvalidMessage(f"the setting {key!r:.80} is neither text, number nor true/false")
    value: Scalar = getattr(scalar, str(kind))
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidMessage(f"the setting {key!r:.80} is not a finite number")
    if isinstance(value, int) and value > _LARGEST_INT:
        raise InvalidMessage(f"the setting {key!r:.80} is larger than any whole number may be")
    return value


def _names(config: Mapping[str, Scalar], key: str) -> tuple[str, ...]:
    value = config.get(key, "")
    if not isinstance(value, str):
        raise InvalidMessage(f"{key} must be names, as '{key}=\"a,b\"'", why=f"got {value!r}")
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _whole(config: Mapping[str, Scalar], key: str) -> int | None:
    value = config.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidMessage(f"{key} must be a whole number", why=f"got {value!r:.60}")
    return value


def _seconds(config: Mapping[str, Scalar], key: str) -> float | None:
    value = config.get(key)
    if value is None:
        return None
    if isinstance(value, bool | str):
        raise InvalidMessage(f"{key} must be a number of seconds", why=f"got {value!r:.60}")
    return float(value)
