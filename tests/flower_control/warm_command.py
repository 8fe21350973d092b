"""An installed command whose imports are paid once: each call is a fork that runs its very script.

``python warm_command.py SCRIPT`` imports what the script imports, and then reads one call a line,
``[arguments, standard output, standard error]`` in JSON, the last two being files. It answers each
with the exit code on a line. Environment and working directory of all calls are its own.
"""

from __future__ import annotations

import json
import os
import runpy
import sys

script = sys.argv[1]
runpy.run_path(script, run_name="only imported")

for line in iter(sys.stdin.readline, ""):
    arguments, out, err = json.loads(line)
    child = os.fork()
    if child == 0:
        for number, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, out, os.O_WRONLY | os.O_CREAT),
            (2, err, os.O_WRONLY | os.O_CREAT),
        ):
            os.dup2(os.open(path, flags, 0o600), number)
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
