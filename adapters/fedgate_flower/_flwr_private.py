"""Every part of flwr that is not public, in one place.

Importing this module imports flwr (about a second), so only child processes do. It refuses any
version but the one it was written for, and says so in one sentence when a name has moved.
"""

from __future__ import annotations

import functools
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # read when flwr is imported

import numpy as np
from numpy.typing import NDArray

from fedgate.errors import PluginUnavailable
from fedgate_flower.version import SUPPORTED, require_supported

require_supported()

try:
    from flwr.app import Array, Message, Metadata
    from flwr.app.message import make_message
    from flwr.clientapp.client_app import LoadClientAppError
    from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
    from flwr.proto.node_pb2 import NodeInfo
    from flwr.server import server as legacy_server
    from flwr.server.client_manager import SimpleClientManager
    from flwr.server.strategy import Strategy as LegacyStrategy
    from flwr.serverapp.server_app import LoadServerAppError
    from flwr.serverapp.strategy import strategy_utils
    from flwr.supercore.logger import update_console_handler
    from flwr.supercore.object_ref import load_app
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
except (ImportError, AttributeError) as error:  # pragma: no cover - a broken installation
    raise PluginUnavailable(
        f"the installed flwr is not the {SUPPORTED} that the Flower adapter knows", why=str(error)
    ) from error

update_console_handler(colored=False)  # the log is a file, and people read it elsewhere

__all__ = [
    "SUPERLINK_NODE_ID",
    "ErrorCode",
    "LegacyStrategy",
    "LoadClientAppError",
    "LoadServerAppError",
    "NodeInfo",
    "Run",
    "borrow_in_aggregation",
    "borrowing",
    "bound_legacy_wait",
    "load_app",
    "make_message",
    "order_legacy_results",
    "save_arrays_with_one_copy",
    "set_identity",
    "set_message_id",
]

#: Flower's task ids count tasks of a SuperLink; there is one task in each of our processes.
_TASK_ID = 1
_SMALL = 64 * 1024
_lent = threading.local()


def set_identity(run_id: int, node_id: int) -> None:
    """Who this process is; ``Message(content, dst, type)`` raises until it is set."""
    TaskIdentity.run_id = run_id
    TaskIdentity.node_id = node_id
    TaskIdentity.task_id = _TASK_ID


def set_message_id(message: Message, message_id: str) -> None:
    """As flwr's own grid and runtime do it; there is no setter."""
    metadata: Metadata = message.metadata
    metadata.__dict__["_message_id"] = message_id


def save_arrays_with_one_copy() -> None:
    """Make ``Array(ndarray)`` write its ``.npy`` bytes with one copy instead of several.

    The bytes are the same (a test compares them). ``np.save`` into a ``BytesIO`` grows the buffer
    as it goes, which costs time and, for big arrays, twice the memory.
    """
    stock = Array.from_numpy_ndarray.__func__  # type: ignore[attr-defined]

    @functools.wraps(stock)
    def from_numpy_ndarray(cls: type[Array], ndarray: NDArray[Any]) -> Array:
        if (
            type(ndarray) is not np.ndarray
            or ndarray.nbytes < _SMALL
            or ndarray.dtype.kind not in "biufc"
            or ndarray.dtype.names is not None
        ):
            return stock(cls, ndarray)  # type: ignore[no-any-return]
        if not (ndarray.flags.c_contiguous or ndarray.flags.f_contiguous):
            ndarray = np.ascontiguousarray(ndarray)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, np.lib.format.header_data_from_array_1_0(ndarray)
        )
        flat = ndarray if ndarray.flags.c_contiguous else ndarray.T
        payload = flat.reshape(-1).view(np.uint8).data
        return Array(
            dtype=str(ndarray.dtype),
            shape=tuple(ndarray.shape),
            stype="numpy.ndarray",
            data=b"".join([header.getvalue(), payload]),
        )

    Array.from_numpy_ndarray = classmethod(from_numpy_ndarray)  # type: ignore[assignment]


def borrowing() -> bool:
    """True while the calling code is known to read arrays only, and to keep none of them."""
    return getattr(_lent, "depth", 0) > 0


@contextmanager
def _borrow() -> Iterator[None]:
    _lent.depth = getattr(_lent, "depth", 0) + 1
    try:
        yield
    finally:
        _lent.depth -= 1


def borrow_in_aggregation(adopt: Callable[[NDArray[Any]], Array]) -> None:
    """Let flwr's own weighted mean read received arrays, and give its sums away, without copies.

    ``aggregate_arrayrecords`` computes ``value.numpy() * weight`` and nothing else with each
    array. What it borrows is read-only, so a version that did more would fail, not go wrong. Its
    sums are its own and go straight into ``Array(sum)``: ``adopt`` makes those Arrays on the very
    memory (the only use of the name in that module).
    """
    stock = strategy_utils.aggregate_arrayrecords
    strategy_utils.Array = adopt  # type: ignore[attr-defined,assignment]

    @functools.wraps(stock)
    def aggregate_arrayrecords(*args: Any, **kwargs: Any) -> Any:
        with _borrow():
            return stock(*args, **kwargs)

    for name, module in list(sys.modules.items()):
        if (
            name.startswith("flwr.serverapp.strategy.")
            and getattr(module, "aggregate_arrayrecords", None) is stock
        ):
            module.aggregate_arrayrecords = aggregate_arrayrecords  # type: ignore[attr-defined]


def bound_legacy_wait(seconds: float, give_up: Callable[[int, int], None]) -> None:
    """Bound how long a legacy strategy waits for clients (a day, and then it goes on without).

    ``give_up(wanted, present)`` is called when the time is over; it should raise.
    """
    stock = SimpleClientManager.wait_for

    @functools.wraps(stock)
    def wait_for(self: SimpleClientManager, num_clients: int, timeout: int = 86400) -> bool:
        there = stock(self, num_clients, min(timeout, seconds))  # type: ignore[arg-type]
        if not there and timeout > seconds:
            give_up(num_clients, len(self))
        return there

    SimpleClientManager.wait_for = wait_for  # type: ignore[method-assign]


def order_legacy_results() -> None:
    """Give a legacy server's strategy its results in the order in which they were asked for.

    The server collects them from a set of futures, in an order that differs from run to run; float
    sums depend on it. Strategies get them ordered before anything of an app sees them, so an app
    that puts them into an order of its own has it.
    """
    for name in ("fit_clients", "evaluate_clients"):
        setattr(legacy_server, name, in_order(getattr(legacy_server, name)))


def in_order(stock: Callable[..., Any]) -> Callable[..., Any]:
    """``(client_instructions, …) -> (results, failures)`` with its results ordered."""

    @functools.wraps(stock)
    def asked(client_instructions: list[Any], *args: Any, **kwargs: Any) -> Any:
        results, failures = stock(client_instructions, *args, **kwargs)
        place = {client.cid: index for index, (client, _) in enumerate(client_instructions)}
        return sorted(results, key=lambda result: place[result[0].cid]), failures

    return asked
