"""What sites sent before they ended is handled before the run ends, however slow that is."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FedEventHeader, FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.widgets.fed_event import FedEventRunner

from fedgate_flare import fed_events, underway
from fedgate_flare.underway import CountedPool


class Engine:
    """Handles one event, until it is let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()
        self.handled = []

    new_context = FLContext
    register_aux_message_handler = staticmethod(lambda **_: None)

    def fire_event(self, event_type, fl_ctx):
        self.begun.set()
        assert self.go.wait(60)
        self.handled.append(event_type)


def test_a_run_is_not_ready_to_end_while_an_event_is_being_handled():
    engine, runner = Engine(), FedEventRunner()
    fed_events.do_not_linger([runner])
    runner.engine, runner.abort_signal = engine, Signal()
    event = Shareable()
    event.set_header(FedEventHeader.TIMESTAMP, time.time())
    event.set_header(FedEventHeader.EVENT_TYPE, "metrics")
    event.set_peer_props({ReservedKey.IDENTITY_NAME: "site-1"})
    runner._receive("fed.event", event, FLContext())
    assert engine.begun.wait(60)

    def ready():
        context = FLContext()
        runner.handle_event(EventType.CHECK_END_RUN_READINESS, context)
        return not context.get_prop(FLContextKey.NOT_READY_TO_END_RUN, False)

    assert not ready()
    engine.go.set()
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert engine.handled == ["metrics"]
    runner.handle_event(EventType.END_RUN, SimpleNamespace())
    assert not runner.poster.is_alive()


def test_frames_that_wait_in_f3s_pool_are_waited_for():
    go = threading.Event()
    with CountedPool(1, "frame_mgr") as pool, CountedPool(1, "conn_mgr") as other:
        pool.submit(go.wait, 60)
        assert not underway.wait_until_handled(0.05)
        go.set()
        assert underway.wait_until_handled(60)
        endless = threading.Event()
        other.submit(endless.wait, 60)
        assert underway.wait_until_handled(60)
        endless.set()
