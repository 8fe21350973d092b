"""Bodies of letters: a task's id, its note and its model, inline or as keys of cargo."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from fedgate.errors import SealBroken
from fedgate_gateway.sealed import CargoKey, CargoRef

#: Up to this size a model rides in the letter itself.
INLINE_MODEL = 256 * 1024
INLINE_NOTE = 512 * 1024
#: Characters of a task's id, which is a counter of the enclave's.
_MAX_TASK = 24

Item = bytes | CargoKey | None


@dataclass(frozen=True)
class Packet:
    note: bytes | CargoKey
    model: Item = None
    #: The cargo of the model has several receivers: a witness letter will follow.
    shared: bool = False
    #: The enclave's id of the task: who cannot get the note can still say which task failed.
    task: str = ""

    @property
    def cargo(self) -> tuple[CargoRef, ...]:
        return tuple(i.ref for i in (self.note, self.model) if isinstance(i, CargoKey))

    def to_bytes(self) -> bytes:
        packed: bytes = msgpack.packb([_item(self.note), _item(self.model), self.shared, self.task])
        return packed

    @classmethod
    def read(cls, body: bytes, cargo: tuple[CargoRef, ...]) -> Packet:
        """Parse; the clear header's cargo must be exactly what the sealed body says."""
        try:
            parts = msgpack.unpackb(body)
            note, model, shared = _read(parts[0]), _read(parts[1]), bool(parts[2])
            task = parts[3]
        except SealBroken:
            raise
        except Exception as error:
            raise SealBroken("the body of a letter does not parse", why=repr(error)) from error
        if note is None:
            raise SealBroken("a letter without a note")
        if not isinstance(task, str) or len(task) > _MAX_TASK:
            raise SealBroken("a letter with an impossible task")
        packet = cls(note, model, shared, task)
        if packet.cargo != cargo:
            raise SealBroken("a letter's header names other cargo than its body")
        return packet


def _item(item: Item) -> list[object] | None:
    if item is None:
        return None
    return [1, item.to_bytes()] if isinstance(item, CargoKey) else [0, item]


def _read(item: object) -> Item:
    if item is None:
        return None
    if isinstance(item, list) and len(item) == 2 and isinstance(item[1], bytes):
        if item[0] == 0:
            return item[1]
        if item[0] == 1:
            return CargoKey.from_bytes(item[1])
    raise SealBroken("the body of a letter does not parse")
