"""Asking for an inspection: a seat, a process, an answer within bounds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedgate.bundle import BundleLimits, digest_of
from fedgate.errors import Unavailable
from fedgate_gateway.config import InspectionLimits
from fedgate_gateway.inspection.answer import (
    ANSWER_BYTES,
    Answer,
    read_answer,
    read_manifest,
    read_texts,
    result_of,
    too_long,
)
from fedgate_gateway.inspection.contract import Inspected
from fedgate_gateway.inspection.process import InspectionProcess
from fedgate_gateway.inspection.seats import Seats

#: Seconds beyond its own that an inspection is waited for: the kernel ends it.
_PATIENCE = 10.0
_CHUNK = 65_536


class Inspector:
    """:class:`Inspects`, each time in a process of its own."""

    def __init__(
        self,
        adapters: Sequence[str],
        limits: InspectionLimits | None = None,
        process: InspectionProcess | None = None,
    ) -> None:
        """``process``: forked before the program had threads; None: started when it is needed."""
        self._adapters = list(adapters)
        self._limits = limits or InspectionLimits()
        self._process = process or InspectionProcess(adapters)
        self._seats = Seats(self._limits.at_a_time, self._limits.waiting)

    async def inspect(
        self, archive: bytes, *, limits: BundleLimits | None = None, holder: str = ""
    ) -> Inspected:
        """See :class:`Inspects`; raises :class:`InspectionFailed` for what takes too much, or ends
        the process that reads it.
        """
        digest = await asyncio.to_thread(digest_of, archive)
        found = await self._ask(archive, limits or BundleLimits(), None, holder)
        manifest = read_manifest(found.get("manifest"))
        return Inspected(digest, len(archive), manifest, read_texts(found.get("requires")))

    async def unpack(self, archive: bytes, folder: Path, *, holder: str = "") -> None:
        await self._ask(archive, BundleLimits(), folder, holder)

    def close(self) -> None:
        self._process.close()

    async def _ask(
        self, archive: bytes, bounds: BundleLimits, folder: Path | None, holder: str
    ) -> Mapping[str, Any]:
        limits = self._limits
        request = json.dumps({
            "adapters": self._adapters, "limits": asdict(bounds),
            "folder": "" if folder is None else str(folder), "seconds": limits.seconds,
            "cpu_seconds": limits.cpu_seconds, "memory_bytes": limits.memory_bytes,
        }).encode()  # fmt: skip
        async with self._seats.one(holder):
            answer = await self._run(request, archive)
            if answer.said is None and answer.ended is None:  # its server went, whatever the cause
                answer = await self._run(request, archive)
        if answer.said is None and answer.ended is None:
            raise Unavailable(
                "bundles cannot be inspected now",
                why="the process that inspects them has ended twice",
                remedy="see the program's log",
            )
        return result_of(answer, cpu_seconds=limits.cpu_seconds, seconds=limits.seconds)

    async def _run(self, request: bytes, archive: bytes) -> Answer:
        """Leaving before the answer is there ends the inspection: its server hears us hang up."""
        memory = await asyncio.to_thread(_in_memory, archive)
        ours, theirs = socket.socketpair()
        with ours:
            try:
                self._process.ask(request, [memory, theirs.fileno()])
            finally:
                os.close(memory)
                theirs.close()
            ours.setblocking(False)
            try:
                async with asyncio.timeout(self._limits.seconds + _PATIENCE):
                    return read_answer(await _received(ours))
            except TimeoutError:
                return Answer(None, -signal.SIGALRM)


async def _received(sock: socket.socket) -> bytes:
    received = bytearray()
    loop = asyncio.get_running_loop()
    while True:
        try:
            chunk = await loop.sock_recv(sock, _CHUNK)
        except ConnectionError:
            chunk = b""
        if not chunk:
            return bytes(received)
        received += chunk
        if len(received) > ANSWER_BYTES:
            raise too_long()


def _in_memory(archive: bytes) -> int:
    """A descriptor of a file in memory that holds the archive, at its beginning."""
    number = os.memfd_create("fedgate-archive", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(number), "wb") as file:
            file.write(archive)
        os.lseek(number, 0, os.SEEK_SET)
    except BaseException:
        os.close(number)
        raise
    return number
