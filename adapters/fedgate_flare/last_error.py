"""The latest error that FLARE logged: its replies carry a code only, people want the sentence."""

from __future__ import annotations

import logging

_LENGTH = 400


class LastError(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            message = f"{type(error).__name__}: {error}"
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        if lines and not self.text.startswith(_EXCEPTION):
            # Of a traceback the last line is the error; of anything else the first one.
            line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
            self.text = line[:_LENGTH]

    def take(self) -> str:
        text, self.text = self.text, ""
        return text


_EXCEPTION = ("Traceback",)
