"""Datagrams between a parent and a child: whole, bounded, and without a leaked descriptor."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage
from fedgate_gateway.child import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ends = wire.socket_pair()
    yield ends
    for end in ends:
        end.close()


def raw(header: object, blob: bytes = b"") -> bytes:
    packed = msgpack.packb(header)
    return struct.pack("<I", len(packed)) + packed + blob


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_message_arrives_as_it_was_sent(pair: Pair) -> None:
    wire.send(pair[0], wire.Message({"t": "task", "k": 7}, b"note"))
    received = wire.receive(pair[1])
    assert received is not None
    assert (received.header, received.blob, received.fd) == ({"t": "task", "k": 7}, b"note", None)


def test_a_descriptor_arrives_as_another_number_for_the_same_file(pair: Pair) -> None:
    fd = os.memfd_create("test")
    os.write(fd, b"hello")
    wire.send(pair[0], wire.Message({"t": "part"}, fd=fd))
    received = wire.receive(pair[1])
    assert received is not None
    assert received.fd not in (None, fd)
    assert os.pread(received.fd, 5, 0) == b"hello"
    os.close(received.fd)
    os.close(fd)


def test_the_largest_message_passes_and_one_byte_more_is_refused_before_it_is_sent(
    pair: Pair,
) -> None:
    room = wire.DATAGRAM - len(raw({"t": "x"}))
    wire.send(pair[0], wire.Message({"t": "x"}, bytes(room)))
    received = wire.receive(pair[1])
    assert received is not None
    assert len(received.blob) == room
    with pytest.raises(InvalidMessage, match="too large"):
        wire.send(pair[0], wire.Message({"t": "x"}, bytes(room + 1)))


def test_a_larger_datagram_of_a_hostile_child_is_refused(pair: Pair) -> None:
    pair[0].send(raw({"t": "x"}, bytes(wire.DATAGRAM)))
    with pytest.raises(InvalidMessage, match="too large"):
        wire.receive(pair[1])


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        b"\xff\xff\xff\xff",
        struct.pack("<I", 1 << 31) + b"\x80",
        raw([]),
        raw({}),
        raw({"t": 1}),
        raw({"t": None}),
        raw({7: "t", "t": "x"}),
        struct.pack("<I", 5000) + b"\x91" * 5000,  # arrays in arrays
    ],
)
def test_garbage_is_refused_as_such(pair: Pair, data: bytes) -> None:
    pair[0].send(data)
    with pytest.raises(InvalidMessage):
        wire.receive(pair[1])


@pytest.mark.parametrize("count", [1, 2, 4, 12])
@pytest.mark.parametrize("data", [b"", b"\1", raw({"t": "x"})], ids=["empty", "garbage", "good"])
def test_descriptors_that_come_with_whatever_never_leak(
    pair: Pair, data: bytes, count: int
) -> None:
    fd = os.memfd_create("test")
    before = open_descriptors()
    socket.send_fds(pair[0], [data], [fd] * count)
    try:
        received = wire.receive(pair[1])
    except InvalidMessage:
        received = None
    if received is not None:
        assert count == 1
        assert received.fd is not None
        os.close(received.fd)
    assert open_descriptors() == before
    os.close(fd)


def test_the_end_of_the_other_side_is_none(pair: Pair) -> None:
    pair[0].close()
    assert wire.receive(pair[1]) is None


@given(st.binary(min_size=1, max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    left, right = wire.socket_pair()
    with left, right:
        left.send(data)
        try:
            received = wire.receive(right)
        except InvalidMessage:
            return
        assert received is not None
        assert isinstance(received.header["t"], str)
