"""A ClientApp's ``Context.state``, kept for each site and job across messages and processes."""

from __future__ import annotations

from pathlib import Path

import msgpack
from flwr.app import RecordDict

from fedgate.errors import FedgateError, WorkloadFailed
from fedgate.model import Model
from fedgate_flower.records import Description, Lifter, restore

_FILE = "flower-state"
_MAGIC = b"FGFLST1\n"


class StateFile:
    """``magic | u32 length of description | description | model``, replaced as a whole.

    Survives the death of the process at any moment; it is not synced, so it need not survive that
    of the machine, and what is damaged is refused rather than half read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._lifter = Lifter()
        self._saved: tuple[Model | None, bytes] | None = None

    def load(self) -> RecordDict:
        """The saved state, or an empty one; raises :class:`WorkloadFailed` if it is damaged."""
        try:
            data = memoryview(self._path.read_bytes())
        except FileNotFoundError:
            return RecordDict()
        try:
            return _parse(data)
        except (FedgateError, ValueError, msgpack.UnpackException) as error:
            raise WorkloadFailed(
                "the saved state of the ClientApp is damaged",
                why=str(error),
                remedy="submit the job again",
            ) from error

    def save(self, state: RecordDict) -> None:
        """Write ``state`` unless it is what was written last."""
        if not state and self._saved is None and not self._path.exists():
            return
        model, description = self._lifter.take_apart(state)
        packed: bytes = msgpack.packb(description)
        if self._saved is not None and self._saved[0] is model and self._saved[1] == packed:
            return  # the same Model object means the same arrays
        part = self._path.with_suffix(".part")
        with part.open("wb") as file:
            file.write(_MAGIC + len(packed).to_bytes(4, "little") + packed)
            for piece in model.pieces() if model is not None else ():
                file.write(piece)
        part.replace(self._path)
        self._saved = (model, packed)


def _parse(data: memoryview) -> RecordDict:
    if data[: len(_MAGIC)] != _MAGIC or len(data) < len(_MAGIC) + 4:
        raise ValueError("it is not a state file")
    start = len(_MAGIC) + 4
    end = start + int.from_bytes(data[start - 4 : start], "little")
    if end > len(data):
        raise ValueError("it is cut off")
    description: Description = msgpack.unpackb(data[start:end], strict_map_key=True)
    # A bytearray, so that arrays of the state can be handed out like received ones.
    model = Model.parse(bytearray(data[end:])) if end < len(data) else None
    return restore(description, model)
