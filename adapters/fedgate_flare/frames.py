"""What a frame of FLARE's F3 layer says of itself: who sent it, to whom, on which channel.

A frame is a 16-byte prefix, msgpack headers and a payload (nvflare/fuel/f3/sfm/sfm_conn.py). Only
the headers are read here; the payload stays opaque. Chunks of a stream carry the stream's own
channel and topic; acknowledgements carry only its id, so a link remembers ids.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack

from fedgate.errors import InvalidMessage

_PREFIX = struct.Struct(">IHBBHHHH")
DATA, HELLO, READY, PING, PONG = 1, 4, 5, 6, 7
_CELL, _STREAM = "cn__", "sm__"
_RETURN_ONLY = "return_only"
_MAX_NAME = 200
_STREAMS = 4096

#: Channels whose traffic Fedgate has replaced. What comes on them is never delivered: on the first
#: ones FLARE would take tasks, results and commands past the governed path.
REPLACED = frozenset(
    {
        "server_command",
        "task",
        "admin",
        "server_parent_listener",
        "client_command",
        "client_sub_worker_command",
        "multi_process_executor",
        "simulator_runner",
        "hci_channel",
        "cellnet.channel",
        "_net_manager",
        "credential_manager",
        "cc_validation",
        "edge_request",
        "workspace_transfer",
    }
)


@dataclass(frozen=True)
class Heading:
    channel: str
    topic: str
    origin: str  # names of cells: "server.job", "site-1.job"
    destination: str

    @property
    def sender(self) -> str:
        return self.origin.split(".", 1)[0]

    @property
    def receiver(self) -> str:
        return self.destination.split(".", 1)[0]


def kind_of(frame: bytes | bytearray | memoryview) -> int:
    """The type of a frame; raises :class:`InvalidMessage` when it is none."""
    if len(frame) < _PREFIX.size:
        raise InvalidMessage("a FLARE frame is too short")
    length, _, kind, *_ = _PREFIX.unpack_from(frame, 0)
    if length != len(frame):
        raise InvalidMessage("a FLARE frame has a wrong length")
    return int(kind)


def handshake(kind: int, endpoint: str) -> bytes:
    """The HELLO or READY frame that a peer with this name would send."""
    payload: bytes = msgpack.packb({"endpoint_name": endpoint, "timestamp": 0.0, "fqcn": endpoint})
    return _PREFIX.pack(_PREFIX.size + len(payload), 0, kind, 0, 0, 0, 1, 1) + payload


class HeadingReader:
    """Reads headings on one link, in both directions."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, frame: bytes | bytearray | memoryview) -> Heading:
        """The heading of a DATA frame; raises :class:`InvalidMessage`."""
        headers = _headers(frame)
        origin, destination = _text(headers, "cn__origin"), _text(headers, "cn__destination")
        channel, topic = self._name(headers)
        if not channel or len(channel) > _MAX_NAME or len(topic) > _MAX_NAME:
            raise InvalidMessage("a FLARE frame names no channel, or too long a one")
        return Heading(channel, topic, origin, destination)

    def _name(self, headers: Mapping[str, Any]) -> tuple[str, str]:
        if headers.get(_CELL + "msg_type") == "return":
            inner = headers.get(_CELL + "original_headers")
            return self._name(inner) if isinstance(inner, dict) else ("", "")
        channel, topic = _text(headers, "cn__channel"), _text(headers, "cn__topic")
        if channel == "sm__STREAM":
            return self._stream(headers)
        return _plain(channel, topic)

    def _stream(self, headers: Mapping[str, Any]) -> tuple[str, str]:
        number = str(headers.get(_STREAM + "id"))[:_MAX_NAME]
        channel = headers.get(_STREAM + "ch")
        with self._lock:
            if not isinstance(channel, str):  # an acknowledgement or an error
                return self._streams.get(number, ("stream", "unknown"))
            name = _plain(channel, str(headers.get(_STREAM + "tp", "")))
            self._streams[number] = name
            self._streams.move_to_end(number)
            while len(self._streams) > _STREAMS:
                self._streams.popitem(last=False)
            return name


def _plain(channel: str, topic: str) -> tuple[str, str]:
    """An answer counts as what was asked."""
    if channel == _RETURN_ONLY and ":" in topic:
        channel, topic = topic.split(":", 1)
    return channel, topic


def _headers(frame: bytes | bytearray | memoryview) -> Mapping[str, Any]:
    size = _PREFIX.unpack_from(frame, 0)[1]
    try:
        headers = msgpack.unpackb(memoryview(frame)[_PREFIX.size : _PREFIX.size + size])
    except Exception as error:
        raise InvalidMessage("a FLARE frame's headers do not parse", why=repr(error)) from error
    if not isinstance(headers, dict):
        raise InvalidMessage("a FLARE frame has no headers")
    return headers


def _text(headers: Mapping[str, Any], key: str) -> str:
    value = headers.get(key)
    if not isinstance(value, str):
        raise InvalidMessage("a FLARE frame lacks a header", why=key)
    return value
