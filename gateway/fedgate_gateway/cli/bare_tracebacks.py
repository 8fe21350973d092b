"""Exceptions in a program's log: where and which, and not in their own words.

What reaches a parent process that nobody foresaw may repeat what a workload or its data said, and a
log goes to a machine's journal and from there to anywhere. Frames and classes are ours.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

#: How many causes of an exception are told.
_DEPTH = 8


class BareTracebacks(logging.Formatter):
    """The words come with the level DEBUG; those of the operating system always do."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            return super().formatException(ei)
        return "\n".join(_bare(ei[1], _DEPTH))


def without_tasks(record: logging.LogRecord) -> bool:
    """Asyncio's own lines show a task together with what it raised; their first line does not."""
    if record.name == "asyncio" and not logging.getLogger().isEnabledFor(logging.DEBUG):
        record.msg, record.args = record.getMessage().partition("\n")[0], None
    return True


def _bare(error: BaseException | None, depth: int) -> list[str]:
    """As Python shows them: the cause first."""
    if error is None or not depth:
        return []
    context = None if error.__suppress_context__ else error.__context__
    lines = _bare(error.__cause__ or context, depth - 1)
    lines += ["Traceback (most recent call last):"] if error.__traceback__ else []
    lines += [line.rstrip("\n") for line in traceback.format_tb(error.__traceback__)]
    words = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    lines.append(type(error).__name__ + words)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            lines += _bare(one, depth - 1)
    return lines
