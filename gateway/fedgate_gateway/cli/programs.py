"""Running a program: what is set before anything is allocated, and how it stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedgate_gateway.cli import allocator
from fedgate_gateway.cli.logs import configure

if TYPE_CHECKING:
    from fedgate_gateway.config import InspectionLimits
    from fedgate_gateway.inspection import Inspector

LogFormat = Literal["plain", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormatOption = Annotated[
    LogFormat, typer.Option("--log-format", help="Lines for people, or JSON lines.")
]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level")]
EofOption = Annotated[
    bool,
    typer.Option(
        "--stop-on-eof",
        hidden=True,
        help="Also stop when standard input ends: whoever started this is gone then.",
    ),
]
#: Threads that only wait must not keep the loop waiting for 5 ms each time (the default).
_SWITCH_SECONDS = 5e-4
#: A program that has not stopped by then is left as it is; its children die with it.
_STOP_SECONDS = 20.0
_OPEN_FILES = 65_536
log = logging.getLogger("fedgate")


def prepare(log_format: LogFormat, log_level: LogLevel) -> None:
    """First of all: allocator, open files, thread switching, logging.

    Until the program runs (:func:`run_until_stopped`, :func:`stop_event`) no garbage is looked for:
    nothing that is imported is any, and looking takes a sixth of the time that a start takes.
    """
    gc.disable()
    allocator.tune()
    _allow_files()
    sys.setswitchinterval(_SWITCH_SECONDS)
    configure(log_format, log_level)


def _begin() -> None:
    """What is loaded by now stays; what comes from now on is collected."""
    gc.freeze()
    gc.enable()


def _allow_files() -> None:
    """As many as the system lets us have: a connection is a file, and 1024 are soon taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def forked_inspector(adapters: Sequence[str], limits: InspectionLimits) -> Inspector:
    """After the configuration is read, and before anything has threads: gRPC's do not survive a
    fork, and what is imported later is not in each inspection's memory.
    """
    from fedgate_gateway.inspection import InspectionProcess, Inspector

    return Inspector(adapters, limits, InspectionProcess.forked(adapters))


def run_until_stopped(
    program: Callable[[], Awaitable[None]], *, name: str, stop_on_eof: bool = False
) -> None:
    """Run until the program ends by itself, or SIGTERM or SIGINT; a second signal ends at once.

    Raises what the program raises; a stop by a signal is no error.
    """
    _begin()
    try:
        asyncio.run(_run(program, name, stop_on_eof=stop_on_eof))
    finally:
        # Everything is closed by now. The interpreter would look through all that was ever loaded
        # for what refers to itself, which takes a gateway two seconds.
        gc.freeze()


async def _run(program: Callable[[], Awaitable[None]], name: str, *, stop_on_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(program())
    asked: list[str] = []

    def stop(why: str) -> None:
        if asked:
            log.warning("%s: stopping at once (%s)", name, why)
            os._exit(128 + signal.SIGTERM)
        asked.append(why)
        log.info("%s: stopping (%s)", name, why)
        running.cancel()
        loop.call_later(_STOP_SECONDS, stop, f"still not stopped after {_STOP_SECONDS:g} s")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    if stop_on_eof:
        _on_eof(loop, lambda: stop("whoever started this is gone"))
    log.info("%s: started, process %d", name, os.getpid())
    try:
        await running
    except asyncio.CancelledError:
        if not asked:
            raise
    log.info("%s: stopped", name)


def stop_event(*, stop_on_eof: bool = False) -> threading.Event:
    """For a program without an event loop: set by SIGTERM or SIGINT; a second signal ends at once.

    Call it in the main thread.
    """
    _begin()
    asked = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        if asked.is_set():
            os._exit(128 + signal.SIGTERM)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if stop_on_eof:
        threading.Thread(target=_until_eof, args=(asked,), daemon=True).start()
    return asked


def _until_eof(then: threading.Event) -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 1024):
            pass
    then.set()


def _on_eof(loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
    """Standard input is the reading end of a pipe that a parent holds and never writes to."""
    source = sys.stdin.fileno()
    os.set_blocking(source, False)

    def readable() -> None:
        with suppress(BlockingIOError):
            if not os.read(source, 1024):
                loop.remove_reader(source)
                then()

    loop.add_reader(source, readable)
