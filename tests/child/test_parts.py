"""What a child announced is counted, bounded, and freed exactly once."""

import fcntl
import os

import pytest

from fedgate.errors import InvalidMessage
from fedgate_gateway.child import parts
from fedgate_gateway.child.parts import PartTable
from fedgate_gateway.child.wire import Message


class Table:
    def __init__(self, limit: int = 1 << 20) -> None:
        self.freed: list[int] = []
        self.table = PartTable(self.freed.append, limit)

    def inline(self, number: object, data: bytes = b"abc", size: object = None) -> None:
        header = {"t": "part", "k": number, "s": len(data) if size is None else size}
        self.table.add(Message(header, data))

    def shared(self, number: int, size: int = 10) -> None:
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, 4096)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.table.add(Message({"t": "part", "k": number, "s": size}, fd=fd))


def test_shared_memory_is_freed_once_it_is_dropped_and_nobody_holds_it() -> None:
    t = Table()
    t.shared(1)
    part = t.table.get(1).hold()
    part.hold()
    t.table.drop(1)
    part.release()
    assert t.freed == []
    part.release()
    assert t.freed == [1]


def test_a_part_that_is_held_no_more_stays_until_it_is_dropped() -> None:
    t = Table()
    t.shared(1)
    t.table.get(1).hold().release()
    assert t.freed == []
    assert t.table.get(1).hold()


def test_inline_parts_need_no_freeing() -> None:
    t = Table()
    t.inline(1)
    t.table.drop(1)
    assert t.freed == []


@pytest.mark.parametrize("number", [2, -1, None, "1", True, [1], 1.0, 1 << 60])
def test_a_number_that_was_never_announced_is_refused(number: object) -> None:
    t = Table()
    t.inline(1)
    with pytest.raises(InvalidMessage, match="never sent"):
        t.table.get(number)
    with pytest.raises(InvalidMessage, match="never sent"):
        t.table.drop(number)


def test_dropping_twice_is_refused_while_it_is_held_and_after() -> None:
    t = Table()
    t.shared(1)
    part = t.table.get(1).hold()
    t.table.drop(1)
    with pytest.raises(InvalidMessage):
        t.table.drop(1)
    part.release()
    with pytest.raises(InvalidMessage):
        t.table.drop(1)
    assert t.freed == [1]


def test_using_a_part_after_its_drop_is_refused() -> None:
    t = Table()
    t.shared(1)
    t.table.get(1).hold()
    t.table.drop(1)
    with pytest.raises(InvalidMessage):
        t.table.get(1)


@pytest.mark.parametrize(("number", "size"), [(None, 3), ("1", 3), (True, 3), (1, "3"), (1, None)])
def test_an_announcement_that_makes_no_sense_is_refused(number: object, size: object) -> None:
    t = Table()
    with pytest.raises(InvalidMessage, match="no sense"):
        t.table.add(Message({"t": "part", "k": number, "s": size}, b"abc"))


def test_announcing_a_number_twice_is_refused() -> None:
    t = Table()
    t.inline(1)
    with pytest.raises(InvalidMessage, match="no sense"):
        t.inline(1)


def test_inline_bytes_of_another_size_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="wrong size"):
        Table().inline(1, b"abc", size=4)


def test_a_child_may_hold_only_so_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_MOST_PARTS", 3)
    t = Table()
    for number in range(3):
        t.inline(number)
    with pytest.raises(InvalidMessage, match="too many"):
        t.inline(4)
    t.table.drop(0)
    t.inline(4)


def test_shared_memory_beyond_the_limit_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="wrong size"):
        Table(limit=9).shared(1)
