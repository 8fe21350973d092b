"""Memory that a parent and a child share: reused, bounded, and safe from whoever holds it too."""

import contextlib
import fcntl
import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedgate.errors import InvalidMessage, Unavailable
from fedgate_gateway.child import memory
from fedgate_gateway.child.memory import Pool, SharedViews, map_private

MIB = 1 << 20
SHRINK = fcntl.F_SEAL_SHRINK


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool("test")
    yield made
    made.close()


def memfd(size: int, *, seals: int = SHRINK, content: bytes = b"") -> int:
    fd = os.memfd_create("hostile", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.pwrite(fd, content, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# -- the writer's pool --------------------------------------------------------------------------


def test_a_buffer_that_was_given_back_is_used_again(pool: Pool) -> None:
    first = pool.take(3 * MIB)
    assert pool.take(100) is not first  # it is lent
    pool.give_back(first.number)
    assert pool.take(MIB) is first
    assert first.size == MIB


def test_the_smallest_idle_buffer_that_fits_is_taken(pool: Pool) -> None:
    large, small = pool.take(8 * MIB), pool.take(3 * MIB)
    pool.give_back(large.number)
    pool.give_back(small.number)
    assert pool.take(4 * MIB) is small
    assert pool.take(4 * MIB) is large


def test_giving_back_twice_lends_it_once(pool: Pool) -> None:
    buffer = pool.take(100)
    pool.give_back(buffer.number)
    pool.give_back(buffer.number)
    assert pool.take(100) is buffer
    assert pool.take(100) is not buffer


def test_idle_memory_beyond_the_bound_goes_back_to_the_system(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_KEEP", 4 * MIB)
    buffers = [pool.take(2 * MIB) for _ in range(3)]
    for buffer in buffers:
        pool.give_back(buffer.number)
    assert [is_open(b.fd) for b in buffers] == [True, True, False]


def test_a_size_that_no_memory_can_hold_is_an_error_of_ours_and_leaks_nothing(pool: Pool) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Unavailable, match="no memory"):
        pool.take(1 << 62)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_whoever_gets_a_buffer_can_neither_cut_it_nor_write_to_it(pool: Pool) -> None:
    """A worker that could rewrite its parent's buffers could rewrite what its guard compares."""
    buffer = pool.take(MIB)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(buffer.fd, 0)
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(buffer.fd, b"x", 0)
    with pytest.raises(OSError, match="not permitted"):
        mmap.mmap(buffer.fd, MIB)  # shared and writable
    buffer.view[:3] = b"abc"  # its owner still can


@pytest.mark.parametrize("mapped", [True, False])
def test_pieces_must_fill_a_buffer_exactly(mapped: bool) -> None:
    pool = Pool("test", mapped=mapped)
    buffer = pool.take(6)
    buffer.write([b"abc", memoryview(b"def")])
    assert os.pread(buffer.fd, 6, 0) == b"abcdef"
    buffer.write([memoryview(b"abcdef").cast("H")])
    for pieces in ([b"abc"], [b"abcdef", b"g"], [b"abcdefg"]):
        with pytest.raises(InvalidMessage):
            buffer.write(pieces)
    assert os.pread(buffer.fd, 7, 0) == b"abcdef\0"
    pool.close()


# -- the child's private view -------------------------------------------------------------------


def test_what_a_reader_writes_into_its_private_view_stays_with_it(pool: Pool) -> None:
    buffer = pool.take(16)
    buffer.write([bytes(16)])
    view = map_private(os.dup(buffer.fd), 16, lambda: None)
    np.frombuffer(view, np.uint8)[:] = 255
    assert bytes(view) == b"\xff" * 16
    assert bytes(buffer.view) == bytes(16)


def test_a_buffer_is_free_again_when_the_last_array_on_it_dies(pool: Pool) -> None:
    buffer = pool.take(800)
    freed: list[int] = []
    view = map_private(os.dup(buffer.fd), 800, lambda: freed.append(buffer.number))
    array = np.frombuffer(view, np.float64)
    part = array[10:20]
    del view, array
    gc.collect()
    assert freed == []
    del part
    gc.collect()
    assert freed == [buffer.number]


def test_mapping_takes_the_descriptor_even_when_it_fails() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    with contextlib.suppress(OSError, ValueError):
        map_private(fd, 100, lambda: None)
    assert not is_open(fd)


# -- what a child hands to its parent ------------------------------------------------------------


def test_a_sealed_memfd_is_seen_as_it_is() -> None:
    views = SharedViews(limit=MIB)
    view = views.view(memfd(4096, content=b"model"), 5)
    assert bytes(view) == b"model"
    assert view.readonly


def test_memory_that_could_be_cut_off_under_its_reader_is_refused() -> None:
    fd = memfd(4096, seals=0)
    with pytest.raises(InvalidMessage, match="sealed"):
        SharedViews(limit=MIB).view(fd, 100)
    assert not is_open(fd)


@pytest.mark.parametrize("size", [0, -1, 4097, 2 * MIB, 1 << 63])
def test_a_size_beyond_the_memory_or_the_limit_is_refused(size: int) -> None:
    fd = memfd(4096 if size != 2 * MIB else 4 * MIB)
    with pytest.raises(InvalidMessage, match="wrong size"):
        SharedViews(limit=MIB).view(fd, size)
    assert not is_open(fd)


@pytest.mark.parametrize("what", ["device", "pipe", "file", "folder"])
def test_a_descriptor_that_is_no_memory_is_refused(what: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(5000))
    fd = {
        "device": lambda: os.open("/dev/zero", os.O_RDWR),
        "pipe": lambda: os.dup(os.pipe()[0]),
        "file": lambda: os.open(tmp_path / "f", os.O_RDWR),
        "folder": lambda: os.open(tmp_path, os.O_RDONLY),
    }[what]()
    with pytest.raises(InvalidMessage):
        SharedViews(limit=MIB).view(fd, 100)
    assert not is_open(fd)


def test_the_same_memory_is_mapped_once() -> None:
    views = SharedViews(limit=MIB)
    fd = memfd(4096)
    first, second = views.view(os.dup(fd), 10), views.view(os.dup(fd), 20)
    assert first.obj is second.obj
    os.close(fd)


def test_a_child_that_never_reuses_memory_does_not_fill_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_MOST_MAPPINGS", 3)
    views = SharedViews(limit=MIB)
    held = views.view(memfd(4096, content=b"held"), 4)
    for _ in range(10):
        views.view(memfd(4096), 4)
    assert len(views._maps) == 3
    assert bytes(held) == b"held"


def test_mappings_are_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_KEEP", MIB)
    views = SharedViews(limit=MIB)
    for _ in range(10):
        views.view(memfd(MIB), 4)
    assert len(views._maps) == 2
