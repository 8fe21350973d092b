"""A run that is over before FLARE has looked at it: its server ends all the same."""

from __future__ import annotations

import contextlib
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_context import FLContext

from fedgate_flare import _nvflare_private as private
from fedgate_flare.server import Server
from fedgate_flare.wake import Bell


class _Engine(SimpleNamespace):
    engine_info = SimpleNamespace(status=None)
    ran = False

    def set_run_manager(self, _manager: object) -> None: ...

    def set_configurator(self, _conf: object) -> None: ...

    @contextlib.contextmanager
    def new_context(self) -> Iterator[FLContext]:
        yield FLContext()


class _Manager(SimpleNamespace):
    def add_handler(self, _handler: object) -> None: ...

    def add_component(self, _name: str, _component: object) -> None: ...


class _Aborted:
    """A runner whose run ends at once."""

    def __init__(self, engine: _Engine, **_options: Any) -> None:
        self._engine = engine

    def run(self) -> None:
        self._engine.ran = True


class _Quick(threading.Thread):
    """Runs to its end before whoever started it goes on, as it may on a busy machine."""

    def start(self) -> None:
        super().start()
        self.join(10)


def test_a_run_that_ends_while_it_is_started_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in ("startup", "local"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(private.fed_server_module, "ServerRunner", _Aborted)
    monkeypatch.setattr(private.fed_server_module, "threading", SimpleNamespace(Thread=_Quick))
    monkeypatch.setattr(Server, "create_run_manager", lambda *_: _Manager())
    server = Server.__new__(Server)
    server._bell, server._on_start = Bell(), lambda _conf: None
    server.engine, server.cell, server.runner_config = _Engine(), None, None
    server.secure_train, server.check_engine_frequency = False, 0.01
    args = Namespace(workspace=str(tmp_path), config_folder="config")

    running = threading.Thread(
        target=server.start_run, args=("job", str(tmp_path), None, args, None)
    )
    running.daemon = True
    running.start()
    running.join(10)
    over = not running.is_alive()
    server.engine.asked_to_stop = True  # whatever came of it, the thread ends
    assert over
    assert server.engine.ran
