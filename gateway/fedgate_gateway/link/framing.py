"""Framing of ``Chunk{data}`` by hand, byte-identical to protobuf's.

A chunk of a megabyte would be copied twice by a protobuf message; here the sealed bytes are
written once behind the field's tag and length, and read as a view.
"""

from __future__ import annotations

from fedgate.errors import InvalidMessage
from fedgate_proto.v1.link_pb2 import Chunk

_DATA_TAG = 0x0A  # field 1, length-delimited
_MAX_VARINT = 10


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class ChunkBuffer:
    """A reusable buffer: ``space(n)`` is where ``n`` bytes of data go, ``message()`` the result."""

    def __init__(self, largest: int) -> None:
        self._buffer = bytearray(largest + 1 + _MAX_VARINT)
        self._end = 0

    def space(self, size: int) -> memoryview:
        prefix = bytes((_DATA_TAG,)) + _varint(size)
        self._buffer[: len(prefix)] = prefix
        self._end = len(prefix) + size
        return memoryview(self._buffer)[len(prefix) : self._end]

    def message(self) -> bytes:
        return bytes(memoryview(self._buffer)[: self._end])


def data_of(message: bytes) -> memoryview:
    """The data of a serialised chunk, without a copy; raises for anything but exactly that."""
    view = memoryview(message)
    if len(view) < 2 or view[0] != _DATA_TAG:
        return _slow_data_of(message)
    size = shift = 0
    for position in range(1, min(len(view), 1 + _MAX_VARINT)):
        byte = view[position]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            if position + 1 + size != len(view):
                break
            return view[position + 1 :]
    return _slow_data_of(message)


def _slow_data_of(message: bytes) -> memoryview:
    try:
        chunk = Chunk.FromString(message)
    except Exception as error:
        raise InvalidMessage("malformed chunk", why=str(error)) from error
    if chunk.WhichOneof("part") != "data":
        raise InvalidMessage("a chunk of data was expected")
    return memoryview(chunk.data)
