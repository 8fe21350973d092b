"""Confinement by bubblewrap: own namespaces, no network, no capabilities, files by allow-list."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fedgate_gateway.sandbox.contract import Confinement, Sandbox

_SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin")
_ETC = ("/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives", "/etc/nsswitch.conf")
_TEMPORARY = ("/tmp", "/dev/shm")  # noqa: S108 - of the sandbox, not of the machine
_NOBODY = "65534"


class Bubblewrap(Sandbox):
    name = "bubblewrap"
    confines = True
    memory_folders = True

    def unavailable(self) -> str | None:
        return _probe()

    def command(self, argv: Sequence[str], confinement: Confinement) -> list[str]:
        command = [
            *_base(),
            "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "fedgate",
            "--proc", "/proc", "--dev", "/dev",
        ]  # fmt: skip
        for place in _TEMPORARY:
            command += _memory(place, confinement.temporary_bytes)
        # Parents before children: a later mount inside an earlier one must win.
        mounts = {p.resolve(): ["--ro-bind", str(p.resolve())] for p in confinement.read}
        writable = (*confinement.write, confinement.cwd)
        mounts |= {p.resolve(): ["--bind", str(p.resolve())] for p in writable}
        mounts = {p: how for p, how in mounts.items() if p.exists()}
        for folder, size in confinement.memory.items():
            mounts[folder.resolve()] = ["--perms", "0700", *_memory("", size)[:-1]]
        for path in sorted(mounts, key=lambda p: len(p.parts)):
            command += [*mounts[path], str(path)]
        return [*command, "--chdir", str(confinement.cwd.resolve()), "--", *argv]


def _memory(place: str, size: int) -> list[str]:
    return [*(["--size", str(size)] if size else []), "--tmpfs", place]


def _base() -> list[str]:
    command = [
        "bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL",
        "--new-session", "--die-with-parent",
    ]  # fmt: skip
    for place in _SYSTEM:
        path = Path(place)
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), place]
        elif path.exists():
            command += ["--ro-bind", place, place]
    for place in _ETC:
        command += ["--ro-bind-try", place, place]
    # The names of this machine alone, as its own network namespace has its addresses.
    return [*command, "--ro-bind", str(Path(__file__).with_name("hosts")), "/etc/hosts"]


@functools.cache
def _probe() -> str | None:
    if shutil.which("bwrap") is None:
        return "bwrap is not installed (package bubblewrap)"
    try:
        ran = subprocess.run(
            [*_base(), "--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/env", "true"],
            capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bwrap does not start: {error}"
    if b"--disable-userns" in ran.stderr:
        return "this bwrap cannot close user namespaces to a workload (0.8.0 or newer can)"
    if ran.returncode != 0:
        return f"bwrap cannot make namespaces here: {ran.stderr.decode(errors='replace')[:200]}"
    return None
