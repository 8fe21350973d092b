"""What a coordinator hears of its sites."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from fedgate.task import Frame, Result, Task, TaskKind
from fedgate_gateway.child.federation import ChildFederation


def federation() -> ChildFederation:
    port: Any = SimpleNamespace(send=lambda *_a, **_k: None)
    return ChildFederation(port, ["site-1", "site-2"])


def test_a_site_that_goes_is_told_with_the_reason() -> None:
    here = federation()
    told: list[tuple[str, str]] = []
    heard = threading.Event()
    here.on_site_lost(lambda site, why: (told.append((site, why)), heard.set()))
    here.set_online("site-2", False, "its worker was killed")
    assert heard.wait(60)
    assert told == [("site-2", "its worker was killed")]
    assert [site.online for site in here.sites()] == [True, False]


def test_a_site_that_is_gone_already_is_told_to_whoever_asks_later() -> None:
    here = federation()
    here.set_online("site-1", False, "it did not join")
    here.set_online("site-2", False, "it lost its connection")
    here.set_online("site-2", True)
    told: list[tuple[str, str]] = []
    here.on_site_lost(lambda site, why: told.append((site, why)))
    assert told == [("site-1", "it did not join")]


def test_a_result_is_read_after_the_frames_that_its_site_sent_before_it() -> None:
    here = federation()
    go, seen = threading.Event(), list[str]()
    here.on_frame(lambda site, _frame: (go.wait(60), seen.append(site)))
    results = here.dispatch([Task("one", "site-1", TaskKind.TRAIN)])
    here.deliver_frame("site-1", Frame("events", "metrics", b""))
    here.deliver(Result("one", "site-1"))
    threading.Timer(0.2, go.set).start()
    assert next(results).ok
    assert seen == ["site-1"]
