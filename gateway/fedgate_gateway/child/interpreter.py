"""What there is to know of a child's interpreter, asked of the interpreter itself."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedgate.errors import InvalidConfig

_SECONDS = 30
_ROOTS = (
    "import sys, json;print(json.dumps([sys.prefix, sys.base_prefix, sys.executable, *sys.path]))"
)


def ask(
    interpreter: str,
    question: str,
    environment: Mapping[str, str] | None = None,
    told: object = None,
) -> Any:
    """Run the lines ``question``, which print JSON; "" is the interpreter of this program.

    ``told`` comes to them as JSON on standard input. Raises :class:`InvalidConfig` for one that
    does not answer.
    """
    executable = interpreter or sys.executable
    try:
        answer = subprocess.run(
            [executable, "-P", "-c", question],
            env={**os.environ, **(environment or {})},
            input=json.dumps(told),
            capture_output=True, timeout=_SECONDS, check=True, text=True,
        ).stdout  # fmt: skip
        return json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InvalidConfig(
            f"the interpreter {executable!r} does not work",
            why=str(error),
            remedy="name the python of a virtual environment with fedgate in it",
        ) from error


@functools.cache
def readable_roots(interpreter: str) -> tuple[Path, ...]:
    """Folders that hold Python, its packages, and editable installs."""
    executable = interpreter or sys.executable
    paths = {Path(p) for p in ask(interpreter, _ROOTS) if p}
    paths |= {Path(executable).parent, Path(executable).resolve().parent.parent}
    kept = sorted({p for p in paths if p.exists() and p != Path("/")}, key=lambda p: len(p.parts))
    roots: list[Path] = []
    for path in kept:
        if not any(path.is_relative_to(root) for root in roots):
            roots.append(path)
    return tuple(roots)
