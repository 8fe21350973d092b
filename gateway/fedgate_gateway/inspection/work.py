"""What one inspection does, in its own process: confine itself, read, and say what it found."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fedgate.bundle import MIB, Bundle, BundleLimits
from fedgate.errors import AdapterFailed, FedgateError, InspectionFailed, Unavailable
from fedgate.plugins import recognise
from fedgate_gateway.child import kernel

#: Descriptors that reading needs: modules that an adapter loads only now, the files it lays out.
_OPEN_FILES = 64
#: Less urgent than whoever answers others on this machine.
_NICE = 5
T = TypeVar("T")


def answer(request: dict[str, Any], archive: bytes) -> bytes:
    """One line of JSON: what was found, or the error that says why not."""
    try:
        told: dict[str, Any] = {"found": _do(request, archive)}
    except FedgateError as error:
        told = {"error": error.to_dict()}
    except MemoryError:
        told = {"error": out_of_memory(int(request["memory_bytes"])).to_dict()}
    return json.dumps(told).encode() + b"\n"


def out_of_memory(limit: int) -> InspectionFailed:
    return InspectionFailed(
        "this bundle cannot be inspected",
        why=f"reading it takes more than {limit // MIB} MiB of memory besides its files",
        remedy="make the files that describe the workload smaller and simpler",
    )


def _do(request: dict[str, Any], archive: bytes) -> dict[str, Any]:
    bundle = Bundle.read(archive, BundleLimits(**request["limits"]))
    if request["folder"]:
        try:
            bundle.tree.write_to(Path(request["folder"]))
        except OSError as error:
            raise Unavailable("the bundle cannot be laid out", why=str(error)[:300]) from error
        return {}
    adapter = _ours("recognising", lambda: recognise(bundle.tree, allowed=request["adapters"]))
    manifest = _ours("inspecting", lambda: adapter.inspect(bundle.tree))
    return {"manifest": manifest.to_dict(), "requires": list(adapter.requires)}


def _ours(doing: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except (FedgateError, MemoryError):
        raise
    except Exception as error:
        raise AdapterFailed(
            f"the adapter failed at {doing} the workload", why=repr(error)[:300]
        ) from error


def confine(request: dict[str, Any]) -> None:
    """No more time, memory, files and processes than it may have; the kernel ends what has more.

    The alarm and the limit of processor time have their default actions: they also end code that
    never comes back to Python.
    """
    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    kernel.end_with_parent(signal.SIGKILL)
    with contextlib.suppress(OSError):  # what the kernel ends first when memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    os.nice(_NICE)
    limits = BundleLimits(**request["limits"])
    room = int(request["memory_bytes"]) + limits.unpacked_bytes + limits.archive_bytes
    seconds, unpacks = int(request["cpu_seconds"]), bool(request["folder"])
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, *[_address_space() + room] * 2),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, *[limits.file_bytes if unpacks else 0] * 2),
    ):
        resource.setrlimit(kind, (soft, hard))
    signal.alarm(int(request["seconds"]))


def _address_space() -> int:
    """Bytes that are mapped now: what the server had when it forked, most of it shared with it."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[0]
    return int(pages) * resource.getpagesize()
