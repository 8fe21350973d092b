"""What a child and all that descend from it use: processes and memory. Read from /proc."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedgate.codes import Code
from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.notice import Notice
from fedgate_gateway.sandbox.family import descendants

#: Seconds between two looks, and the share of time that looking may take.
_LOOK, _SHARE = 0.25, 0.05
#: Share of the machine's memory that one child may use where nothing else is said.
_OF_MACHINE = 0.9


@dataclass(frozen=True)
class Use:
    """What a family uses. Threads count, since each is one to the scheduler."""

    processes: int
    memory_bytes: int


def use(pid: int, *, enough_processes: int, enough_bytes: int) -> Use:
    """Of ``pid`` and its descendants; counted roughly, and exactly only beyond ``enough_bytes``.

    Memory is what the processes do not share with others: what several of them share counts once,
    and what the parent shares with one (models on their way) by its part. Files in memory that no
    process maps count if one has them open.
    """
    processes, rough, family = 0, 0, []
    for member in (pid, *descendants(pid)):
        threads, resident = _status(member)
        processes += threads
        rough += resident
        family.append(member)
        if enough_processes and processes > enough_processes:
            return Use(processes, rough)
    files: dict[tuple[int, int], int] = {}
    for member in family:
        _memory_files(member, files)
    held = sum(files.values())
    if not enough_bytes or rough + held <= enough_bytes:
        return Use(processes, rough + held)
    private = shared = 0
    for member in family:
        anonymous, shmem = _exact(member)
        private += anonymous
        shared += shmem
    return Use(processes, private + max(shared, held))


def _status(pid: int) -> tuple[int, int]:
    """Threads, and bytes in memory that are no file's: an upper bound, pages may be shared."""
    fields = _fields(pid, "status")
    return fields.get("Threads", 0), 1024 * (fields.get("RssAnon", 0) + fields.get("RssShmem", 0))


def _exact(pid: int) -> tuple[int, int]:
    """Bytes that are the process's own, and its part of memory that it shares."""
    fields = _fields(pid, "smaps_rollup")
    if "Pss_Anon" not in fields:  # it hides (or has ended): the upper bound
        return _status(pid)[1], 0
    swapped = fields.get("SwapPss", 0)
    return 1024 * (fields["Pss_Anon"] + swapped), 1024 * fields.get("Pss_Shmem", 0)


def _fields(pid: int, file: str) -> dict[str, int]:
    fields: dict[str, int] = {}
    with suppress(OSError):
        for line in Path("/proc", str(pid), file).read_bytes().splitlines():
            name, _, rest = line.partition(b":")
            words = rest.split()
            if words and words[0].isdigit():
                fields[name.decode(errors="replace")] = int(words[0])
    return fields


def _memory_files(pid: int, files: dict[tuple[int, int], int]) -> None:
    """Add files that exist in memory alone (memfd_create) and that the process has open."""
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(entry.path).startswith("/memfd:"):  # noqa: PTH115 - no path
                    told = os.stat(entry.path)  # noqa: PTH116
                    files[told.st_dev, told.st_ino] = told.st_blocks * 512


async def outgrown(pid: int, *, processes: int, memory_bytes: int) -> FedgateError:
    """Returns once the family of ``pid`` uses more than it may; may never return."""
    pause, loop = _LOOK, asyncio.get_running_loop()
    memory_bytes = memory_bytes or int(_OF_MACHINE * machine_bytes())
    while True:
        await asyncio.sleep(pause)
        began = loop.time()
        now = await asyncio.to_thread(
            use, pid, enough_processes=processes, enough_bytes=memory_bytes
        )
        if processes and now.processes > processes:
            return WorkloadFailed(
                "the workload started more processes than it may",
                why=f"over {processes} processes and threads, runtime.limits.processes",
                remedy="start fewer, or have the limit raised where it runs",
                notice=Notice(Code.TOO_MANY_PROCESSES, {"limit": processes}),
            )
        if now.memory_bytes > memory_bytes:
            return WorkloadFailed(
                "the workload was ended at its memory limit",
                why=f"its processes hold {now.memory_bytes >> 20} MiB together, of "
                f"{memory_bytes >> 20} MiB, runtime.limits.tree_memory_bytes",
                remedy="use less, or have the limit raised where it runs",
                notice=Notice(Code.TOO_MUCH_MEMORY, {"bytes": memory_bytes}),
            )
        pause = max(_LOOK, (loop.time() - began) / _SHARE)


def machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
