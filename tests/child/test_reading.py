"""Models that a child reads piece by piece: what it may ask for, and how much at a time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedgate.errors import InvalidMessage, SealBroken
from fedgate.model import Model
from fedgate_gateway.link.kept import KeptCargo
from fedgate_gateway.sealed import CargoKey, CargoSealer

pytestmark = pytest.mark.e2e

PLAIN = Model.from_numpy({"w": np.arange(100_000, dtype=np.float32)}).to_bytes()
#: Waits for the task and takes what it carries; ``k`` is the number of the deferred part.
TAKE = """
def hear():
    data, fds, _, _ = socket.recv_fds(sock, 1 << 20, 4)
    for fd in fds:
        os.close(fd)
    (n,) = struct.unpack_from("<I", data)
    return msgpack.unpackb(data[4 : 4 + n])
say({'t': 'ready'})
while (heard := hear())['t'] != 'deferred':
    pass
k, size = heard['k'], heard['s']
while hear()['t'] != 'task':
    pass
"""


def kept(folder: Path) -> KeptCargo:
    cargo = KeptCargo(CargoKey.generate(len(PLAIN), 65536), "job-1", folder)
    sealer = CargoSealer(cargo.key, "job-1")
    for index in range(cargo.key.chunks):
        piece = memoryview(PLAIN)[index * 65536 :][: cargo.key.plain_size(index)]
        cargo.add(index, memoryview(sealer.seal_chunk(index, piece)), piece)
    return cargo


def run(impostor: Callable[..., Any], code: str, cargo: KeptCargo) -> Any:
    """How a child ends that gets ``cargo`` with a task and then does ``code``."""

    async def go() -> Any:
        watched = impostor(TAKE + code)
        await watched.heard("ready")
        watched.child.send("task", note=b"x", model=cargo)
        return await watched.end(), watched

    return asyncio.run(go())


@pytest.mark.parametrize(
    "asked",
    [
        "{'k': k + 1, 'b': 0, 'e': 8, 'r': 1}",
        "{'k': None, 'b': 0, 'e': 8, 'r': 1}",
        "{'k': k, 'b': -1, 'e': 8, 'r': 1}",
        "{'k': k, 'b': 8, 'e': 8, 'r': 1}",
        "{'k': k, 'b': 0, 'e': size + 1, 'r': 1}",
        "{'k': k, 'b': 0, 'e': 1 << 60, 'r': 1}",
        "{'k': k, 'b': 0.0, 'e': 8, 'r': 1}",
        "{'k': k, 'b': 0, 'e': 8, 'r': 'x'}",
        "{'k': k}",
    ],
)
def test_a_range_that_there_is_not_ends_the_child(
    impostor: Callable[..., Any], tmp_path: Path, asked: str
) -> None:
    code = f"say({{'t': 'fetch', **{asked}}}); time.sleep(60)"
    error, _ = run(impostor, code, kept(tmp_path / "kept"))
    assert isinstance(error, InvalidMessage)


def test_a_part_that_was_given_back_cannot_be_read_again(
    impostor: Callable[..., Any], tmp_path: Path
) -> None:
    code = """
    say({'t': 'free', 'k': k})
    say({'t': 'fetch', 'k': k, 'b': 0, 'e': 8, 'r': 1})
    time.sleep(60)
    """.replace("\n    ", "\n")
    error, _ = run(impostor, code, kept(tmp_path / "kept"))
    assert isinstance(error, InvalidMessage)


def test_a_flood_of_reads_ends_the_child(impostor: Callable[..., Any], tmp_path: Path) -> None:
    code = """
    for r in range(5000):
        say({'t': 'fetch', 'k': k, 'b': 0, 'e': size, 'r': r})
    time.sleep(60)
    """.replace("\n    ", "\n")
    error, _ = run(impostor, code, kept(tmp_path / "kept"))
    assert isinstance(error, InvalidMessage)


def test_many_threads_may_read_at_the_same_time(
    impostor: Callable[..., Any], tmp_path: Path
) -> None:
    code = """
    for r in range(200):
        say({'t': 'fetch', 'k': k, 'b': r, 'e': r + 8, 'r': r})
    answered = set()
    while len(answered) < 200:
        heard = hear()
        if heard['t'] == 'fetched':
            assert 'error' not in heard
            answered.add(heard['r'])
            say({'t': 'free', 'k': heard['p']})
    say({'t': 'done'})
    """.replace("\n    ", "\n")
    error, watched = run(impostor, code, kept(tmp_path / "kept"))
    assert error is None, watched.log


def test_a_read_that_fails_is_answered_with_the_reason(
    impostor: Callable[..., Any], tmp_path: Path
) -> None:
    class Broken(KeptCargo):
        def read_into(self, begin: int, end: int, out: memoryview) -> None:
            raise SealBroken("the disk has altered it")

    cargo = kept(tmp_path / "kept")
    cargo.__class__ = Broken
    code = """
    say({'t': 'fetch', 'k': k, 'b': 0, 'e': 8, 'r': 7})
    while (heard := hear())['t'] != 'fetched':
        pass
    assert heard['r'] == 7 and 'altered' in heard['error'], heard
    say({'t': 'done'})
    """.replace("\n    ", "\n")
    error, watched = run(impostor, code, cargo)
    assert error is None, watched.log
