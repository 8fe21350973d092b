"""An installed command whose imports are paid once: each call is a fork that runs its very script.

``python warm_command.py SCRIPT`` imports what the script imports, and then reads one call a line,
``[arguments, working directory, folder]`` in JSON. Output, errors and then the exit code of each
come as files into its folder; calls run side by side. The environment of all calls is its own.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
from pathlib import Path


def run(arguments: list[str], cwd: str, folder: str) -> None:
    """Returns once the command has ended; in its own process, not at all."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, f"{folder}/out", os.O_WRONLY | os.O_CREAT),
            (2, f"{folder}/err", os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(name, flags, 0o600), number)
        os.chdir(cwd)
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")
        sys.exit(0)
    _, status = os.waitpid(command, 0)
    ended = Path(folder, "ended")
    ended.write_text(str(os.waitstatus_to_exitcode(status)))
    ended.rename(Path(folder, "code"))


script = sys.argv[1]
runpy.run_path(script, run_name="only imported")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for the forks
for line in iter(sys.stdin.readline, ""):
    if os.fork() == 0:
        run(*json.loads(line))
        os._exit(0)
