"""Running a ClientApp at a site: one message in, one reply out."""

from __future__ import annotations

import gc
import traceback
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedgate.adapter import SiteContext, Workload
from fedgate.task import Result, Task
from fedgate_flower._flwr_private import ErrorCode, LoadClientAppError, set_identity
from fedgate_flower.loading import load_object, load_project
from fedgate_flower.messages import error_result, from_task, to_result
from fedgate_flower.state import StateFile

_LARGE = 1 << 20


class FlowerWorker:
    """A ClientApp and its Context, for as long as the job lives at this site.

    Flower starts a process for each message; here modules stay loaded between them, as they do in
    Flower's own simulation.
    """

    def __init__(self, workload: Workload, site: SiteContext) -> None:
        loaded = load_project(workload)
        node = loaded.nodes[site.name]
        set_identity(loaded.run_id, node)
        self._state = StateFile(site.state)
        self._context = Context(
            run_id=loaded.run_id,
            node_id=node,
            node_config={
                "partition-id": site.index,
                "num-partitions": len(site.sites),
                **site.settings,
            },
            state=self._state.load(),
            run_config=dict(loaded.run_config),
            series_id=loaded.series_id,
        )
        self._failure: BaseException | None = None
        self._app: Any = None
        try:
            self._app = load_object(loaded.project.clientapp, workload, LoadClientAppError)
            if not isinstance(self._app, ClientApp):
                raise LoadClientAppError(f"{loaded.project.clientapp!r} is not a ClientApp")
        except (Exception, SystemExit) as error:  # reported with every task, as Flower does
            traceback.print_exc()
            self._failure = error

    def handle(self, task: Task) -> Result:
        """The app's reply to a task, or an error result with Flower's own error code.

        The state is kept also when the app raises, as Flower keeps it.
        """
        if self._failure is not None:
            return _not_loaded(task, self._failure)
        message = from_task(task)
        large = task.model is not None and task.model.nbytes > _LARGE
        try:
            reply = self._app(message=message, context=self._context)
            if not isinstance(reply, Message):
                raise TypeError(f"the ClientApp returned a {type(reply).__name__}, not a Message")
            result = to_result(reply, task)
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            result = _raised(task, error)
        finally:
            self._state.save(self._context.state)
        if large:
            del message
            gc.collect()  # RecordDict's reference cycles pin the received model
        return result

    def close(self) -> None:
        """Nothing is held that the end of the process does not release."""


def _raised(task: Task, error: BaseException) -> Result:
    return error_result(
        task,
        ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
        f"{type(error)}:<'{error}'>",  # Flower's own format
        f"the ClientApp raised {type(error).__name__}",
    )


def _not_loaded(task: Task, error: BaseException) -> Result:
    missing = f" (no module {error.name!r})" if isinstance(error, ModuleNotFoundError) else ""
    return error_result(
        task,
        ErrorCode.LOAD_CLIENT_APP_EXCEPTION,
        f"An exception was raised when attempting to load `ClientApp`: {error!r}",
        f"the ClientApp does not load: {type(error).__name__}{missing}",
    )
