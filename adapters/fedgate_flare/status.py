"""Status reports of workflows that the sites control themselves (swarm learning and its kind).

In FLARE they ride in the peer context of a site's endless polling. Fedgate does not poll: a report
travels when it changed, as a frame of its own, and only where the site's guard lists it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from fedgate.errors import InvalidMessage
from fedgate.task import Frame
from fedgate_flare.wake import Bell, ring_after, wake_loaded

CHANNEL, TOPIC = "peer_context", "cwf.status_reports"
_CCWF = "nvflare.app_common.ccwf."
_CONTROLLERS = (
    (_CCWF + "client_ctl", "ClientSideController"),
    (_CCWF + "client_controller_executor", "ClientControllerExecutor"),
)
_SLEEPERS = ("client_ctl", "client_controller_executor", "swarm_client_ctl", "server_ctl",
             "cse_server_ctl")  # fmt: skip
_MAX_BYTES = 64 * 1024
_TIDYING = 2.0
_MAX_WORKFLOWS = 64


class StatusSender:
    """At a site: sends the reports that FLARE put into a pull's context, if they are new."""

    def __init__(self, post: Callable[[Frame], None]) -> None:
        self._post = post
        self._last: bytes = msgpack.packb({})

    def offer(self, reports: Any) -> None:
        packed = msgpack.packb(reports if isinstance(reports, dict) else {})
        if packed != self._last:
            self._last = packed
            self._post(Frame(CHANNEL, TOPIC, packed))


def read_reports(body: bytes) -> dict[str, dict[str, Any]]:
    """Workflow -> its report, a flat dictionary; raises :class:`InvalidMessage`."""
    if len(body) > _MAX_BYTES:
        raise InvalidMessage("a status report is too large", why=f"{len(body)} bytes")
    try:
        reports = msgpack.unpackb(body)
    except Exception as error:
        raise InvalidMessage("a status report does not parse", why=repr(error)) from error
    if (
        not isinstance(reports, dict)
        or len(reports) > _MAX_WORKFLOWS
        or not all(isinstance(k, str) and _is_report(v) for k, v in reports.items())
    ):
        raise InvalidMessage("a status report is malformed")
    return reports


def _is_report(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(k, str)
        and (
            v is None or type(v) in (bool, int, str) or (isinstance(v, float) and math.isfinite(v))
        )
        for k, v in value.items()
    )


def is_controlled_by_sites() -> bool:
    """Has this process loaded such a workflow? Ask when the job's components exist."""
    modules = [module for module, _ in _CONTROLLERS] + [_CCWF + "server_ctl"]
    return any(module in sys.modules for module in modules)


def watch(bell: Bell, poke: Callable[[], None]) -> None:
    """At a site: a controller's new status is sent at once, and its loops wake on events."""
    wake(bell)
    for module, name in _CONTROLLERS:
        if module in sys.modules:
            controller = getattr(sys.modules[module], name)
            ring_after(controller, "update_status", poke)
            if hasattr(controller, "set_learn_task"):
                _let_it_finish(controller)


def _let_it_finish(controller: Any) -> None:
    """A site hands its result over and then tidies up; the next task can come in between.

    FLARE would abort the task that is as good as done, and its own handler of that event then
    stops the site for good. Its polling makes this rare there; here messages are quicker.
    """
    original = controller.set_learn_task

    def set_learn_task(self: Any, *args: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + _TIDYING
        while self.learn_task and time.monotonic() < deadline:
            time.sleep(0.005)
        return original(self, *args, **kwargs)

    controller.set_learn_task = set_learn_task


def wake(bell: Bell) -> None:
    wake_loaded(bell, *(_CCWF + name for name in _SLEEPERS))
