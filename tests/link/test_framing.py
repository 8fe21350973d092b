"""Chunks framed by hand are what protobuf would have made of them, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate.errors import InvalidMessage
from fedgate_gateway.link.framing import ChunkBuffer, data_of
from fedgate_proto.v1 import link_pb2 as pb


def framed(data: bytes, largest: int = 1 << 20) -> bytes:
    buffer = ChunkBuffer(largest)
    buffer.space(len(data))[:] = data
    return buffer.message()


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 1 << 20])
def test_every_length_of_the_length_is_framed_as_protobuf_does(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    assert framed(data) == pb.Chunk(data=data).SerializeToString()
    assert bytes(data_of(framed(data))) == data


@given(st.binary(max_size=300))
def test_what_was_framed_is_read_as_it_was(data: bytes) -> None:
    assert bytes(data_of(framed(data))) == data
    assert bytes(data_of(pb.Chunk(data=data).SerializeToString())) == data


def test_a_buffer_that_is_used_again_shows_nothing_of_before() -> None:
    buffer = ChunkBuffer(300)
    buffer.space(300)[:] = b"x" * 300
    buffer.space(3)[:] = b"abc"
    assert buffer.message() == pb.Chunk(data=b"abc").SerializeToString()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0a",
        b"\x0a\x05abc",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        b"\xff\xff",
        pb.Chunk(cargo=pb.CargoHeader(job="j")).SerializeToString(),
        pb.Chunk(output=pb.OutputHeader(name="n")).SerializeToString(),
    ],
)
def test_anything_else_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidMessage):
        data_of(message)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_as_protobuf_reads_them_or_refused(message: bytes) -> None:
    try:
        found = bytes(data_of(message))
    except InvalidMessage:
        return
    assert found == pb.Chunk.FromString(message).data
