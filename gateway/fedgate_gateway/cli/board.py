"""Showing jobs while they run: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TextIO

from fedgate.errors import FedgateError
from fedgate_gateway.cli.client import Client
from fedgate_gateway.cli.output import size
from fedgate_gateway.cli.progress import JobProgress
from fedgate_gateway.cli.sse import Event

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PER_SECOND = 8
_METRICS = 3


class Board:
    """The jobs that are being watched. Events may come from several threads."""

    def __init__(self, jobs: Sequence[JobProgress], out: TextIO | None = None) -> None:
        self.jobs = list(jobs)
        self._out = out or sys.stderr
        self._live = self._out.isatty()
        self._lock = threading.Lock()
        self._console: Console | None = None

    def show(self) -> AbstractContextManager[object]:
        """While this is open, a terminal shows the table."""
        if not self._live:
            return nullcontext()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._out)
        return Live(
            get_renderable=self._locked_table, console=self._console,
            refresh_per_second=_PER_SECOND,
        )  # fmt: skip

    def take(self, job: JobProgress, event: Event) -> None:
        with self._lock:
            line = job.apply(event)
            if line and not self._live:
                self._print(job, line)

    def say(self, job: JobProgress, line: str) -> None:
        """What is no event; a terminal shows it above the table."""
        if self._console is not None:
            self._console.print(line, markup=False)
            return
        with self._lock:
            self._print(job, line)

    def _print(self, job: JobProgress, line: str) -> None:
        name = f"{job.job} " if len(self.jobs) > 1 else ""
        print(f"{name}{line}", file=self._out, flush=True)

    def _locked_table(self) -> Table:
        with self._lock:
            return self._table()

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in ("job", "workload", "state", "round", "sites", "out / in", "metrics", "s"):
            justify: Literal["left", "right"] = "right" if heading in ("round", "s") else "left"
            table.add_column(heading, justify=justify, no_wrap=True)
        for job in self.jobs:
            table.add_row(
                job.job,
                escape(job.name),
                _state(job),
                f"{job.round} {escape(job.task)}" if job.rounds else "-",
                _sites(job),
                f"{size(job.sent_bytes)} / {size(job.received_bytes)}",
                escape(_metrics(job)),
                f"{job.seconds:.1f}",
            )
        return table


def watch(client: Client, jobs: Sequence[JobProgress], out: TextIO | None = None) -> None:
    """Show jobs until all have ended; raises what made watching one of them impossible."""
    board = Board(jobs, out)

    def follow(job: JobProgress) -> None:
        for event in client.events(job.job, say=lambda line: board.say(job, line)):
            board.take(job, event)

    with board.show():
        _together(jobs, follow)


def print_events(client: Client, jobs: Sequence[JobProgress]) -> None:
    """The events of jobs on stdout until all have ended, one JSON object a line."""
    lock = threading.Lock()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def follow(job: JobProgress) -> None:
        for event in client.events(job.job, say=say):
            with lock:
                line = {"job": job.job, "id": event.id, "kind": event.kind, "data": event.data}
                print(json.dumps(line), flush=True)

    _together(jobs, follow)


def _together(jobs: Sequence[JobProgress], follow: Callable[[JobProgress], None]) -> None:
    """Follow each job on a thread of its own; raise the first error once all have ended."""
    errors: list[FedgateError] = []

    def work(job: JobProgress) -> None:
        try:
            follow(job)
        except FedgateError as error:
            errors.append(error)

    # Daemons: Ctrl-C must not wait for streams that are quiet.
    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    if errors:
        raise errors[0]


def _state(job: JobProgress) -> Any:
    from rich.text import Text

    colour = {"succeeded": "green", "running": "cyan"}.get(str(job.state), "yellow")
    if job.state.final and job.state != "succeeded":
        colour = "red"
    return Text(str(job.state), style=colour)


def _sites(job: JobProgress) -> str:
    text = f"{len(job.ready)}/{len(job.sites)}"
    return f"{text}, lost {','.join(sorted(job.lost))}" if job.lost else text


def _metrics(job: JobProgress) -> str:
    shown = list(job.metrics.items())[-_METRICS:]
    return "  ".join(f"{name} {value:.4g}" for name, value in shown) or "-"
