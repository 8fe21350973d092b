"""The child's end: sends notes and models to the parent, reads what the parent sends.

Large things cross as numbered *parts* (``{"t": "part", "k": number, "s": size}`` with the bytes
inline or in a memfd), which later messages refer to. Whoever receives a part says ``free`` when
the memory may be reused.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from typing import Any

from fedgate.deferred import deferred_model
from fedgate.errors import InvalidMessage
from fedgate.model import Model
from fedgate_gateway.child import wire
from fedgate_gateway.child.memory import Pool, map_private
from fedgate_gateway.child.reading import DeferredReader, Fetches


class Port:
    """Thread-safe for sending; one thread reads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pool = Pool("fedgate-child", mapped=False)
        # Re-entrant: a finalizer may send while this thread is about to. A datagram is atomic.
        self._lock = threading.RLock()
        self._next = 1
        self._buffers: dict[int, int] = {}  # part number -> pool buffer
        self._sent: dict[int, tuple[weakref.ref[Model], int]] = {}  # id(model) -> its part
        self._parts: dict[int, memoryview] = {}
        self._deferred: dict[int, tuple[int, memoryview]] = {}
        self._closed = False
        self._fetches = Fetches(self._ask)

    # -- sending ---------------------------------------------------------------------------

    def send(
        self, kind: str, *, note: bytes = b"", model: Model | None = None, **fields: Any
    ) -> None:
        """One message with its note and model; a model sent before is not encoded again."""
        header: dict[str, Any] = {"t": kind, **fields}
        with self._lock:
            if model is not None:
                header["model"] = self._give_model(model)
            if len(note) > wire.INLINE:
                header["note"] = self._give(note, len(note))
                self._drop(header["note"], after=lambda: self._send(wire.Message(header)))
            else:
                self._send(wire.Message(header, note))

    def _send(self, message: wire.Message) -> None:
        if self._closed:
            return
        try:
            wire.send(self._sock, message)
        except OSError:  # the parent is gone; the reader ends this process
            self._closed = True

    def _drop(self, part: int, after: Any = None) -> None:
        if after is not None:
            after()
        self._send(wire.Message({"t": "drop", "k": part}))

    def _give(self, data: bytes, size: int) -> int:
        buffer = self._pool.take(size)
        buffer.write([data])
        return self._announce(buffer.number, buffer.fd, size)

    def _announce(self, buffer: int, fd: int, size: int) -> int:
        part, self._next = self._next, self._next + 1
        self._buffers[part] = buffer
        self._send(wire.Message({"t": "part", "k": part, "s": size}, fd=fd))
        return part

    def _give_model(self, model: Model) -> int:
        known = self._sent.get(id(model))
        if known is not None and known[0]() is model:
            return known[1]
        header = model.header()
        size = len(header) + model.nbytes
        pieces: list[bytes | memoryview] = [header]
        pieces += [t.data for t in model.tensors.values() if t.nbytes]
        if size <= wire.INLINE:
            part, self._next = self._next, self._next + 1
            self._send(wire.Message({"t": "part", "k": part, "s": size}, b"".join(pieces)))
        else:
            buffer = self._pool.take(size)
            buffer.write(pieces)
            part = self._announce(buffer.number, buffer.fd, size)
        key = id(model)
        self._sent[key] = (weakref.ref(model), part)
        weakref.finalize(model, self._forget, key, part).atexit = False
        return part

    def _forget(self, key: int, part: int) -> None:
        with self._lock:
            known = self._sent.get(key)
            if known is not None and known[1] == part:
                del self._sent[key]
            self._drop(part)

    # -- receiving -------------------------------------------------------------------------

    def receive(self) -> tuple[wire.Message, bytes, Model | None] | None:
        """The next message with its note and model resolved, or None when the parent is gone."""
        while True:
            try:
                message = wire.receive(self._sock)
            except OSError:
                message = None
            if message is None:
                self._fetches.close()
                return None
            if message.type in ("part", "deferred"):
                self._take(message)
            elif message.type == "fetched":
                self._deliver(message)
            elif message.type == "free":
                number = self._buffers.pop(message.header["k"], None)
                if number is not None:
                    self._pool.give_back(number)
            else:
                return message, *self._resolve(message)

    def _take(self, message: wire.Message) -> None:
        part, size = message.header["k"], message.header["s"]
        if message.type == "deferred":
            self._deferred[part] = (size, self._parts.pop(message.header["h"]))
        elif message.fd is None:
            self._parts[part] = memoryview(bytearray(message.blob))
        else:
            self._parts[part] = map_private(message.fd, size, lambda: self._free(part))

    def _free(self, part: int) -> None:
        with self._lock:
            self._send(wire.Message({"t": "free", "k": part}))

    def _resolve(self, message: wire.Message) -> tuple[bytes, Model | None]:
        if message.fd is not None:
            os.close(message.fd)
            raise InvalidMessage("unexpected descriptor from the parent")
        note = message.blob
        if "note" in message.header:
            note = bytes(self._parts.pop(message.header["note"]))
        model = None
        if "model" in message.header:
            model = self._model(message.header["model"])
        return note, model

    def _model(self, part: int) -> Model:
        deferred = self._deferred.pop(part, None)
        if deferred is None:
            return Model.parse(self._parts.pop(part))
        size, header = deferred
        reader = DeferredReader(self._fetches, part, size)
        weakref.finalize(reader, self._free, part).atexit = False
        return deferred_model(header, size, reader.read)

    def _ask(self, part: int, begin: int, end: int, request: int) -> None:
        with self._lock:
            self._send(wire.Message({"t": "fetch", "k": part, "b": begin, "e": end, "r": request}))

    def _deliver(self, message: wire.Message) -> None:
        header = message.header
        view = self._parts.pop(header["p"]) if "p" in header else None
        self._fetches.deliver(header["r"], view, str(header.get("error", "")))
