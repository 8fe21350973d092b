"""Everything that a job released as one ZIP, made while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Sequence

from fedgate_gateway.control.records import JobRecord, Output
from fedgate_gateway.store import Objects

README = "README.txt"
_EPOCH = (1980, 1, 1, 0, 0, 0)


async def parcel(
    objects: Objects, job: JobRecord, outputs: Sequence[Output]
) -> AsyncIterator[bytes]:
    """The pieces of the archive; no more than one piece of an output is in memory.

    Outputs lie in it as they are stored: what is sealed stays so and carries ``.sealed`` in its
    name.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(README), readme(job, outputs))
        for output in outputs:
            name = f"{output.name}.sealed" if output.sealed else output.name
            with archive.open(_entry(name), "w", force_zip64=True) as member:
                async for piece in objects.stream(output.object_key):
                    member.write(piece)
                    yield sink.drain()
    yield sink.drain()


def readme(job: JobRecord, outputs: Sequence[Output]) -> str:
    lines = [f"What {job.id} ({job.name}) released. Bundle: {job.bundle}", ""]
    lines += [
        f"  {o.name}  {o.size} bytes  {o.digest}{'  sealed' if o.sealed else ''}" for o in outputs
    ]
    if any(output.sealed for output in outputs):
        lines += [
            "",
            "Files that end with .sealed open with the recipient key of the submitter's profile.",
            "This fetches them again, checks who sealed them, and opens them:",
            "",
            f"  fedgate job result {job.id}",
        ]
    if any(not output.sealed for output in outputs):
        lines += [
            "",
            "What is not sealed was not signed either: the gateway could have changed it.",
        ]
    return "\n".join(lines) + "\n"


def _entry(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o644 << 16
    return info


class _Sink(io.RawIOBase):
    """Where the archive is written to; it cannot seek, so ZipFile writes sizes behind the data."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def drain(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
