"""What a child does with its messages: run a coordinator, or serve tasks as a worker."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from fedgate.adapter import Adapter, SiteContext, Workload
from fedgate.errors import AllTasksFailed, FedgateError, WorkloadFailed
from fedgate.model import Model
from fedgate.task import Failure, Frame, Result, Task, TaskError
from fedgate_gateway.child import notes
from fedgate_gateway.child.federation import ChildFederation
from fedgate_gateway.child.port import Port
from fedgate_gateway.child.wire import Message

T = TypeVar("T")


def run_coordinator(port: Port, adapter: Adapter, workload: Workload) -> None:
    """Run the framework's server side; ends with a ``done`` or ``failed`` message."""
    federation = ChildFederation(port, workload.sites)
    go = threading.Event()

    def read() -> None:
        try:
            while (received := port.receive()) is not None:
                if received[0].type in ("go", "stop"):
                    if received[0].type == "stop":
                        federation.cancel()
                    go.set()
                else:
                    _deliver(federation, *received)
                del received  # a model must not outlive its use here
        except Exception as error:  # deaf from now on: nobody must wait for what comes no more
            _deaf(port, error)
        federation.cancel()
        go.set()

    threading.Thread(target=read, name="reader", daemon=True).start()
    port.send("ready")
    go.wait()
    if federation.cancelled:
        return
    try:
        _wrapped(lambda: adapter.coordinate(workload, federation))
        _refuse_total_failure(federation)
    except FedgateError as error:
        traceback.print_exc()
        port.send("failed", error=_short(error))
    else:
        port.send("done")


def _deliver(
    federation: ChildFederation, message: Message, note: bytes, model: Model | None
) -> None:
    match message.type:
        case "result":
            federation.deliver(notes.read_result(note, model))
        case "frame":
            federation.deliver_frame(message.header["site"], notes.read_frame(note))
        case "online":
            header = message.header
            federation.set_online(
                header["site"], header["online"], header.get("reason", ""),
                returning=bool(header.get("returning")),
            )  # fmt: skip


def _refuse_total_failure(federation: ChildFederation) -> None:
    """Frameworks return normally even when not one site answered; that is no success."""
    if federation.results and federation.failures == federation.results:
        raise AllTasksFailed(
            "every task of this job failed at every site",
            why=f"{federation.failures} of {federation.results} results were errors",
            remedy="see the sites' own logs and the reasons in the job's events",
        )


def run_worker(port: Port, adapter: Adapter, workload: Workload, site: SiteContext) -> None:
    """Start the framework's client side, then answer tasks until the parent says stop."""
    frames: list[Callable[[Frame], None]] = []
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    site = SiteContext(
        name=site.name, index=site.index, sites=site.sites, state=site.state,
        datasets=site.datasets, settings=site.settings, trainers=site.trainers,
        post=lambda frame: port.send("frame", note=notes.frame_note(frame)),
        on_frame=frames.append,
    )  # fmt: skip

    def read() -> None:
        try:
            while (received := port.receive()) is not None:
                message, note, model = received
                if message.type == "task":
                    tasks.put(notes.read_task(note, model))
                elif message.type == "frame":
                    _call(frames, notes.read_frame(note))
                elif message.type == "stop":
                    break
                del message, note, model, received
        except Exception as error:
            _deaf(port, error)
        tasks.put(None)

    threading.Thread(target=read, name="reader", daemon=True).start()
    try:
        worker = _wrapped(lambda: adapter.worker(workload, site))
    except FedgateError as error:
        traceback.print_exc()
        port.send("failed", error=_short(error))
        return
    port.send("ready")
    while (task := tasks.get()) is not None:
        _answer(port, worker.handle, task)
        del task
    worker.close()


def _answer(port: Port, handle: Callable[[Task], Result], task: Task) -> None:
    """One result for the task, whatever the workload does and whatever it returns."""
    try:
        result = handle(task)
        if (result.task, result.site) != (task.id, task.site):
            raise WorkloadFailed("the worker answered another task than it was given")
        port.send("result", note=notes.result_note(result), model=result.model)
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        traceback.print_exc()
        reason = str(error) if isinstance(error, FedgateError) else repr(error)
        failed = TaskError(Failure.WORKLOAD, reason[:4000])
        port.send("result", note=notes.result_note(Result(task.id, task.site, error=failed)))


def _call(callbacks: list[Callable[[Frame], None]], frame: Frame) -> None:
    for callback in callbacks:
        try:
            callback(frame)
        except Exception:
            traceback.print_exc()


def _deaf(port: Port, error: Exception) -> None:
    traceback.print_exc()
    told = error if isinstance(error, FedgateError) else FedgateError(
        "a child process failed on a message of its parent", why=repr(error)
    )  # fmt: skip
    port.send("failed", error=_short(told))


def _short(error: FedgateError) -> dict[str, str]:
    """An error that fits into one message whatever text the workload put into it."""
    return {k: v if len(v) < 8000 else v[:8000] + " …" for k, v in error.to_dict().items()}


def _wrapped(call: Callable[[], T]) -> T:
    """Only our own errors leave: foreign ones become the workload's failure."""
    try:
        return call()
    except FedgateError:
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        raise WorkloadFailed(
            "the workload's code failed",
            why=f"{type(error).__name__}: {error}",
            remedy="the job's log has the traceback",
        ) from error
