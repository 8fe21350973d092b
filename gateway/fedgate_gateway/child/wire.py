"""Messages between a parent and its child: one datagram each, with an optional descriptor.

Datagram: ``u32 LE header length | msgpack header | inline blob``. A blob larger than
:data:`INLINE` travels as a memfd beside the datagram; the header then has its size and the
sender's buffer number, which the receiver hands back with a ``free`` message.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Any

import msgpack

from fedgate.errors import InvalidMessage

INLINE = 48 * 1024
#: Largest datagram: an inline blob, and a header of control fields.
DATAGRAM = 160 * 1024
_SOCKET_BUFFER = 1 << 20
_LENGTH = struct.Struct("<I")


@dataclass(slots=True)
class Message:
    """``header["t"]`` names the message; ``fd`` is owned by whoever receives it."""

    header: dict[str, Any]
    blob: bytes = b""
    fd: int | None = None

    @property
    def type(self) -> str:
        return str(self.header.get("t"))


def socket_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
    return pair


def send(sock: socket.socket, message: Message) -> None:
    """Send one datagram; a descriptor in it stays open here (the kernel duplicates it)."""
    header = msgpack.packb(message.header)
    parts = [_LENGTH.pack(len(header)), header, message.blob]
    if sum(map(len, parts)) > DATAGRAM:
        raise InvalidMessage("a message to or from a child process is too large")
    fds = [] if message.fd is None else [message.fd]
    socket.send_fds(sock, parts, fds)


def receive(sock: socket.socket) -> Message | None:
    """The next message, or None at the end; raises :class:`InvalidMessage` for garbage."""
    data, fds, flags, _ = socket.recv_fds(sock, DATAGRAM + 1, 4)
    for extra in fds[1:]:
        os.close(extra)
    fd = fds[0] if fds else None
    if not data:
        if fd is not None:
            os.close(fd)
        return None
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(data) > DATAGRAM or len(fds) > 1:
            raise InvalidMessage("a message to or from a child process is too large")
        return Message(*_split(data), fd=fd)
    except InvalidMessage:
        if fd is not None:
            os.close(fd)
        raise


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = msgpack.unpackb(data[4 : 4 + length], strict_map_key=True)
    except Exception as error:
        raise InvalidMessage("malformed message from a child process", why=repr(error)) from error
    if not isinstance(header, dict) or not isinstance(header.get("t"), str):
        raise InvalidMessage("malformed message from a child process", why="no type")
    return header, data[4 + length :]
