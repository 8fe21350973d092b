"""What a child's interpreter needs to read, asked of the interpreter itself."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

from fedgate.errors import InvalidConfig

_ASK = (
    "import sys, json, sysconfig;"
    "print(json.dumps([sys.prefix, sys.base_prefix, sys.executable, *sys.path]))"
)


@functools.cache
def readable_roots(interpreter: str) -> tuple[Path, ...]:
    """Folders that hold Python, its packages, and editable installs."""
    executable = interpreter or sys.executable
    try:
        answer = subprocess.run(
            [executable, "-P", "-c", _ASK], capture_output=True, timeout=30, check=True, text=True
        ).stdout
        paths = {Path(p) for p in json.loads(answer) if p}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InvalidConfig(
            f"the interpreter {executable!r} does not work",
            why=str(error),
            remedy="set runtime.interpreter to the python of a virtual environment with fedgate",
        ) from error
    paths |= {Path(executable).parent, Path(executable).resolve().parent.parent}
    kept = sorted({p for p in paths if p.exists() and p != Path("/")}, key=lambda p: len(p.parts))
    roots: list[Path] = []
    for path in kept:
        if not any(path.is_relative_to(root) for root in roots):
            roots.append(path)
    return tuple(roots)
