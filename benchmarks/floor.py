"""What the same bytes cost at the very least on this machine, now: copy, seal, loopback TCP."""

from __future__ import annotations

import mmap
import os
import socket
import statistics
import threading
import time
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEGMENT = 1 << 20


def measure(size: int, repeats: int = 5) -> dict[str, float]:
    """Name -> median seconds for ``size`` bytes, buffers touched beforehand."""
    source = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    target = np.zeros_like(source)
    key = AESGCM(AESGCM.generate_key(256))
    shared = os.memfd_create("floor")
    os.ftruncate(shared, size)
    mapping = mmap.mmap(shared, size)
    warm = np.frombuffer(mapping, np.uint8)
    warm[:] = 0
    sealed = memoryview(bytearray(SEGMENT + 16))
    plain = memoryview(source.data)

    def copy() -> None:
        target[:] = source

    def copy_into_shared_memory() -> None:
        warm[:] = source

    def seal() -> None:
        for index, start in enumerate(range(0, size, SEGMENT)):
            piece = plain[start : start + SEGMENT]
            key.encrypt_into(index.to_bytes(12, "big"), piece, b"", sealed[: len(piece) + 16])

    def loopback() -> None:
        _send_over_tcp(plain)

    return {
        "memcpy": _median(copy, repeats),
        "memcpy into shared memory": _median(copy_into_shared_memory, repeats),
        "AES-256-GCM, 1 MiB segments": _median(seal, repeats),
        "TCP over loopback": _median(loopback, repeats),
    }


def _send_over_tcp(data: memoryview) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()

        def send() -> None:
            with client:
                client.sendall(data)

        thread = threading.Thread(target=send)
        thread.start()
        buffer = memoryview(bytearray(SEGMENT))
        with server:
            while server.recv_into(buffer):
                pass
        thread.join()


def _median(action: Callable[[], None], repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])  # the first touches memory for the first time
