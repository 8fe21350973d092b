"""The error behind a reply: FLARE's replies carry a code only, people want the sentence."""

from __future__ import annotations

import logging

_LENGTH = 400
_TRACEBACK = "Traceback"


class LastError(logging.Handler):
    """Keeps one line: the first exception that was logged, or else the latest error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._text = ""
        self._is_exception = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_exception:
            return  # what follows an exception are its echoes
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message = f"{_TRACEBACK}\n{type(error).__name__}: {error}"
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        if lines:
            # The last line of a traceback says what happened; of anything else the first one does.
            begins, traceback, _ = lines[0].partition(_TRACEBACK)
            self._is_exception = bool(traceback)
            self._text = begins[:_LENGTH] + lines[-1 if traceback else 0][:_LENGTH]

    def take(self) -> str:
        text, self._text, self._is_exception = self._text, "", False
        return text
