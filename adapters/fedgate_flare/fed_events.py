"""Federated events: at the end of a run none that has arrived is lost, and nobody waits for more.

FLARE takes an event out of its queue before its handlers have it, and makes up for that, and for
what may still be on its way, with seconds of waiting. Here an event leaves the queue once its
handlers have returned, and what sites sent before they ended is there by then (see ``lifecycle``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from nvflare.apis.fl_constant import EventScope, FedEventHeader, FLContextKey

from fedgate_flare import _nvflare_private as private

_LOG = logging.getLogger("fedgate.flare")


def do_not_linger(handlers: Iterable[Any]) -> None:
    """For those of a run's handlers that pass federated events on."""
    private.FedEventRunner._post = _post
    for handler in handlers:
        if isinstance(handler, private.FedEventRunner):
            handler.queue_empty_period = handler.grace_period = 0.0


def _post(self: Any) -> None:
    """Fire the events that come in, in their order, until the run has ended and none is left."""
    while not self.abort_signal.triggered:
        with self.in_lock:
            event = self.in_events[0] if self.in_events else None
        if event is not None:
            _fire(self, event)
        elif self.asked_to_stop:
            return
        else:
            time.sleep(self.regular_interval)


def _fire(runner: Any, event: Any) -> None:
    try:
        with runner.engine.new_context() as context:
            context.set_prop(FLContextKey.EVENT_DATA, event, private=True, sticky=False)
            context.set_prop(
                FLContextKey.EVENT_SCOPE, EventScope.FEDERATION, private=True, sticky=False
            )
            runner.engine.fire_event(
                event_type=event.get_header(FedEventHeader.EVENT_TYPE), fl_ctx=context
            )
    except Exception:
        _LOG.exception("a federated event could not be handled")
    finally:
        with runner.in_lock:
            runner.in_events.pop(0)
            if not runner.in_events:
                runner.last_queue_empty_time = time.time()
