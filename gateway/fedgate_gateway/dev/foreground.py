"""`fedgate dev` in the foreground: say where everything is, stay until Ctrl-C, leave nothing."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType

from fedgate_gateway.config import ProjectConfig, load_config
from fedgate_gateway.dev.examples import folder
from fedgate_gateway.dev.federation import Federation

_LOOK_EVERY = 0.5


def run(federation: Federation) -> None:
    """Raises :class:`Unavailable` with the last log lines of a program that ended by itself."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    new = not federation.prepared
    print(f"{'making' if new else 'starting'} a federation in {federation.dir} …", flush=True)
    try:
        with federation:
            print(_told(federation), flush=True)
            while not stop.wait(_LOOK_EVERY):
                for program in federation.programs.values():
                    program.require_alive()
            print("stopping …", flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _told(federation: Federation) -> str:
    layout = federation.layout
    names = "".join(
        f"  {name:<10} process {program.pid:<8} log {program.log}\n"
        for name, program in federation.programs.items()
    )
    return (
        f"\n{names}\n"
        f"  configuration  {layout.root}/*.toml, projects/, policies/\n"
        f"  datasets       {layout.data}\n"
        f"  administrator  --profile {layout.admin_profile}\n"
        "\nIn another terminal:\n"
        f"  export FEDGATE_PROFILE={layout.profile}\n"
        "  fedgate site list\n"
        f"{_submissions(federation)}"
        f"{_warning(layout.project)}"
        "\nCtrl-C stops everything."
    )


def _warning(project: Path) -> str:
    """Of what this federation lets out and a real one should not."""
    if load_config(ProjectConfig, project).release.site_files == "never":
        return ""
    return (
        "\nNot for real data: with --site-files a job gets, sealed, what its worker left at each "
        "site,\nwhich can be all that it read there (site_files in the project file).\n"
    )


def _submissions(federation: Federation) -> str:
    """What can be submitted here: the examples whose data the sites have, or anything else."""
    held = federation.datasets()
    found = {
        "breast-cancer": "flower-breast-cancer",
        "digits": "flare-digits/job",
    }
    lines = [
        f"  fedgate job submit {_short(folder() / path)} --datasets {name} --wait\n"
        for name, path in found.items()
        if name in held
    ]
    if "breast-cancer" in held:
        app = _short(folder() / found["breast-cancer"])
        lines.append(f"  fedgate flower connect dev && flwr run {app} dev --stream\n")
    names = f" --datasets {','.join(held)}" if held else ""
    return "".join(lines) or f"  fedgate job submit WORKLOAD{names} --wait\n"


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
