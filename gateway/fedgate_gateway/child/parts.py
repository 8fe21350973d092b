"""Parts a child announced, as its parent holds them: counted, bounded, freed exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedgate.errors import InvalidMessage
from fedgate.model import Model
from fedgate_gateway.child.memory import SharedViews
from fedgate_gateway.child.wire import Message

_MOST_PARTS = 20_000


@dataclass(eq=False)
class Part:
    """Bytes of a child's model or note; ``release`` once for each ``hold``."""

    number: int
    view: memoryview
    table: PartTable
    shared: bool
    holds: int = 0
    dropped: bool = False
    checked: bool = False

    def hold(self) -> Part:
        self.holds += 1
        return self

    def check(self) -> None:
        """Once: raises :class:`~fedgate.errors.InvalidModel` unless it holds exactly a model."""
        if not self.checked:
            Model.parse(self.view)
            self.checked = True

    def release(self) -> None:
        self.holds -= 1
        self.table.settle(self)


class PartTable:
    """The parts of one child. ``free(number)`` tells the child that it may reuse the memory."""

    def __init__(self, free: Callable[[int], None], limit: int) -> None:
        self._free = free
        self._views = SharedViews(limit)
        self._parts: dict[int, Part] = {}

    def add(self, message: Message) -> None:
        number, size = message.header.get("k"), message.header.get("s")
        if type(number) is not int or type(size) is not int or number in self._parts:
            raise InvalidMessage("a child announced a part that makes no sense")
        if len(self._parts) >= _MOST_PARTS:
            raise InvalidMessage("a child holds too many parts", why=f"more than {_MOST_PARTS}")
        if message.fd is None:
            if len(message.blob) != size:
                raise InvalidMessage("a child's part has a wrong size")
            view, shared = memoryview(message.blob), False
        else:
            fd, message.fd = message.fd, None
            view, shared = self._views.view(fd, size), True
        self._parts[number] = Part(number, view, self, shared)

    def get(self, number: object) -> Part:
        part = self._parts.get(number) if type(number) is int else None
        if part is None or part.dropped:
            raise InvalidMessage("a child refers to a part that it never sent", why=repr(number))
        return part

    def drop(self, number: object) -> None:
        part = self.get(number)
        part.dropped = True
        self.settle(part)

    def settle(self, part: Part) -> None:
        if not part.dropped or part.holds:
            return
        if self._parts.pop(part.number, None) is not None and part.shared:
            self._free(part.number)
