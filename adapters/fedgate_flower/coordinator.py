"""Running a ServerApp to its end, or to the point where it would never end."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from fedgate.adapter import Federation, Workload
from fedgate.errors import FedgateError, WorkloadFailed
from fedgate_flower._flwr_private import (
    SUPERLINK_NODE_ID,
    LoadServerAppError,
    Run,
    bound_legacy_wait,
    order_legacy_results,
    set_identity,
)
from fedgate_flower.grid import FederationGrid
from fedgate_flower.ledger import Ledger
from fedgate_flower.loading import LoadedProject, load_object, load_project
from fedgate_flower.outcome import Outcome
from fedgate_flower.strategies import watch_strategies
from fedgate_flower.waiting import NodeWait, node_wait_seconds

_LOOK_SECONDS = 0.25


def run_server_app(workload: Workload, federation: Federation) -> None:
    """Run the app's ServerApp; once per process.

    Raises :class:`WorkloadFailed` when it raised or nobody answered, and
    :class:`~fedgate.errors.DeadlineExceeded` when it waits for nodes that do not come.
    """
    loaded = load_project(workload)
    seconds = node_wait_seconds({**loaded.project.config, **workload.config})
    set_identity(loaded.run_id, SUPERLINK_NODE_ID)
    ledger, outcome, ending = Ledger(), Outcome(federation), _Ending()
    watch_strategies(outcome)
    wait = NodeWait(seconds, ending.fail)
    bound_legacy_wait(seconds, wait.give_up)
    order_legacy_results()
    app = _load(loaded, workload)
    run = _run(loaded, workload)
    grid = FederationGrid(federation, run, loaded.nodes, wait=wait, ledger=ledger, outcome=outcome)
    context = Context(
        run_id=loaded.run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(loaded.run_config),
        series_id=loaded.series_id,
    )

    def body() -> None:
        wait.watch_this_thread()
        app(grid=grid, context=context)

    ending.run(body, lambda: federation.cancelled)
    if federation.cancelled:
        return
    _raise_failure(ending, ledger)
    outcome.publish()


def _load(loaded: LoadedProject, workload: Workload) -> ServerApp:
    reference = loaded.project.serverapp
    try:
        app = load_object(reference, workload, LoadServerAppError)
    except BaseException as error:  # whatever an app's module raises when imported
        traceback.print_exc()
        raise WorkloadFailed(
            f"the ServerApp {reference!r} does not load",
            why=_described(error),
            remedy="the job's log has the traceback",
        ) from error
    if not isinstance(app, ServerApp):
        raise WorkloadFailed(
            f"{reference!r} is not a ServerApp", why=f"it is a {type(app).__name__}"
        )
    return app


def _run(loaded: LoadedProject, workload: Workload) -> Run:
    run = Run.create_empty(run_id=loaded.run_id)
    run.fab_id, run.fab_version = loaded.project.fab_id, loaded.project.version
    run.override_config = {k: v for k, v in workload.config.items() if k in loaded.run_config}
    return run


def _raise_failure(ending: _Ending, ledger: Ledger) -> None:
    error, nobody = ending.error, ledger.total_failure()
    if isinstance(error, FedgateError):
        raise error
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        if nobody is not None:
            raise nobody
        return
    if nobody is not None:  # why the app fell over, most likely
        raise WorkloadFailed(
            f"{nobody.what}, and then the ServerApp raised {type(error).__name__}",
            why=nobody.why,
            remedy=nobody.remedy,
        ) from error
    raise WorkloadFailed(
        "the ServerApp raised an exception",
        why=_described(error),
        remedy="the job's log has the traceback",
    ) from error


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


class _Ending:
    """How the app ended: by itself, or because we gave up on it.

    The app runs in a thread of its own, so that one that sleeps for ever inside Flower cannot keep
    this process from reporting. The process ends soon after, and the thread with it.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()

    def run(self, body: Callable[[], None], cancelled: Callable[[], bool]) -> None:
        """Returns when ``body`` has, or :meth:`fail` was called, or the job was cancelled."""
        threading.Thread(target=self._guarded, args=(body,), name="serverapp", daemon=True).start()
        while not self._over.wait(_LOOK_SECONDS):
            if cancelled():
                return

    def fail(self, error: BaseException) -> None:
        """End with ``error``; the first one counts."""
        with self._lock:
            if not self._over.is_set():
                self.error = error
                self._over.set()

    def _guarded(self, body: Callable[[], None]) -> None:
        try:
            body()
        except BaseException as error:  # SystemExit too: user code may raise anything
            if not isinstance(error, FedgateError):
                traceback.print_exc()
            self.fail(error)
        finally:
            self._over.set()
