"""A program's own log on stderr: lines for people, or JSON lines for machines."""

from __future__ import annotations

import json
import logging
import sys
import threading
import types
from datetime import UTC, datetime
from typing import Any

from fedgate_gateway.cli.bare_tracebacks import BareTracebacks, without_tasks
from fedgate_gateway.cli.raw_lines import RawLines

#: Libraries whose informational messages say nothing about us.
_QUIET = ("asyncio", "httpx", "httpcore", "alembic", "uvicorn", "grpc", "stevedore", "multipart")
_OWN = ("at", "level", "logger", "message", "exception")
_json = False


class JsonLines(BareTracebacks):
    """``{"at", "level", "logger", "message"[, "exception"], …}``, one object a line.

    A record's ``fields`` (``extra={"fields": {…}}``) stand beside these: what a program searches
    for is never a part of a sentence.
    """

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        fields: dict[str, Any] = getattr(record, "fields", {})
        line.update((name, value) for name, value in fields.items() if name not in _OWN)
        return json.dumps(line, ensure_ascii=False, default=str)


class Lines(BareTracebacks):
    """``time level logger: message``; line breaks inside a message are escaped."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


def configure(format: str, level: str) -> None:
    """Set up the root logger. Names from strangers are escaped, so that no line can be forged.

    With "json" every line on stderr is an object, whoever writes it: libraries in C, warnings and
    uncaught exceptions as well. Once for each process. Exceptions are told without their words, but
    at "debug".
    """
    global _json
    _json = format == "json"
    root = logging.getLogger()
    if _json:
        handler = logging.StreamHandler(RawLines.take(_told_raw).stream)
        handler.setFormatter(JsonLines())
        logging.captureWarnings(True)
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines())
    _hook_exceptions()
    handler.addFilter(without_tasks)
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def as_json() -> bool:
    """Is stderr for machines?"""
    return _json


def _told_raw(line: str) -> None:
    """A line that some library wrote to descriptor 2 by itself, as gRPC's C core does."""
    logging.getLogger("stderr").warning("%s", line)


def _hook_exceptions() -> None:
    log = logging.getLogger("fedgate")

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
    ) -> None:
        log.critical("an exception that nobody caught", exc_info=(kind, error, trace))

    def in_thread(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None and told.exc_type is not SystemExit:
            uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        if told.exc_value is not None:
            uncaught(told.exc_type, told.exc_value, told.exc_traceback)

    sys.excepthook, threading.excepthook, sys.unraisablehook = uncaught, in_thread, unraisable
