"""Whatever reading a bundle does, it is that bundle's refusal and nobody else's problem."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from fedgate import plugins
from fedgate.bundle import MIB, Bundle, BundleLimits, BundleTree, digest_of, pack_files
from fedgate.errors import (
    AdapterFailed,
    FedgateError,
    InspectionFailed,
    InvalidBundle,
    LimitReached,
)
from fedgate.manifest import Manifest
from fedgate_gateway.child import kernel
from fedgate_gateway.config import InspectionLimits
from fedgate_gateway.inspection import InspectionProcess, Inspector, work
from fedgate_gateway.inspection.answer import read_answer, read_manifest

pytestmark = pytest.mark.timeout(60)
GOOD = pack_files({"attack": b"none", "app/a.py": b"x = 1\n"})
LIMITS = InspectionLimits(cpu_seconds=1, seconds=20, memory_bytes=64 * MIB)


def attack(name: str) -> bytes:
    return pack_files({"attack": name.encode()})


def hold_the_gil() -> None:
    re.match(r"(a+)+b", "a" * 60)


def overflow_the_stack() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def sleep() -> None:
    time.sleep(60)


def take_memory() -> None:
    bytearray(4 << 30)


def start_processes() -> None:
    if os.getuid() == 0:  # no limit of processes is one for root
        raise BlockingIOError
    os.fork()


def write_a_file() -> None:
    Path("/tmp", f"fedgate-inspection-{os.getpid()}").write_text("x")


def recurse() -> None:
    recurse()


def raise_something() -> None:
    raise KeyError("whatever")


def tell_too_much() -> Manifest:
    return Manifest("small", "x", notes=("n" * 2_000_000,))


def tell_nonsense() -> Manifest:
    return Manifest("small", "x", min_sites="many")  # type: ignore[arg-type]


def what_it_holds() -> Manifest:
    held = []
    for number in range(3, 64):
        with suppress(OSError):
            held.append(str(Path(f"/proc/self/fd/{number}").readlink()))
    return Manifest("small", "held", notes=tuple(held))


def call_home() -> Manifest:
    """By loopback, by an address without a connection, and by a name in the abstract."""
    port = int(os.environ["TEST_LISTENER"])
    reached = []
    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("192.0.2.1", 9)),
        (socket.AF_UNIX, socket.SOCK_STREAM, f"\0fedgate-test-{port}"),
    ):
        with socket.socket(family, kind) as sock, suppress(OSError):
            sock.connect(address)
            reached.append(f"{family.name} {kind.name}")
    return Manifest("small", "home", notes=tuple(reached))


def rule_a_namespace() -> Manifest:
    """What would give it powers over a network of its own, and its program's memory."""
    done = []
    with suppress(OSError):
        kernel.own_namespaces()
        done.append("namespaces")
    for name in ("mem", "ns/net"):
        with suppress(OSError):
            os.close(os.open(f"/proc/{os.environ['TEST_PROGRAM']}/{name}", os.O_RDONLY))
            done.append(name)
    return Manifest("small", "ruler", notes=tuple(done))


ATTACKS: dict[str, Callable[[], Any]] = {
    f.__name__: f
    for f in (
        hold_the_gil, overflow_the_stack, leave, sleep, take_memory, start_processes, write_a_file,
        recurse, raise_something, tell_too_much, tell_nonsense, what_it_holds,
        call_home, rule_a_namespace,
    )
}  # fmt: skip


def recognise(tree: BundleTree, *, allowed: object) -> Any:
    def inspect(tree: BundleTree) -> Manifest:
        told = ATTACKS.get(tree.text("attack"), lambda: None)()
        return told or Manifest("small", "quiet", config={"lr": 0.1}, dependencies=("numpy",))

    return SimpleNamespace(inspect=inspect, requires=("small==1.*",))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Inspector]]:
    monkeypatch.setattr(work, "recognise", recognise)
    made: list[Inspector] = []

    def start(**changes: Any) -> Inspector:
        limits = LIMITS.model_copy(update=changes)
        made.append(Inspector((), limits, InspectionProcess.forked(())))
        return made[-1]

    yield start
    for inspector in made:
        inspector.close()


def test_a_bundle_is_read_elsewhere_and_described_here(make: Callable[..., Inspector]) -> None:
    found = asyncio.run(make().inspect(GOOD))
    assert (found.digest, found.size) == (digest_of(GOOD), len(GOOD))
    assert found.manifest == Manifest("small", "quiet", config={"lr": 0.1}, dependencies=("numpy",))
    assert found.requires == ("small==1.*",)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("hold_the_gil", InspectionFailed, "more than 1 s of processor time"),
        ("overflow_the_stack", InspectionFailed, "SIGSEGV"),
        ("leave", InspectionFailed, "exit code 3"),
        ("take_memory", InspectionFailed, "more than 64 MiB of memory"),
        ("start_processes", AdapterFailed, "BlockingIOError"),
        ("write_a_file", AdapterFailed, "OSError"),
        ("recurse", AdapterFailed, "RecursionError"),
        ("raise_something", AdapterFailed, "whatever"),
        ("tell_too_much", InspectionFailed, "about itself"),
        ("tell_nonsense", InspectionFailed, "min_sites"),
    ],
)
def test_what_goes_wrong_is_the_refusal_of_that_bundle(
    make: Callable[..., Inspector], name: str, kind: type[FedgateError], words: str
) -> None:
    inspector = make()

    async def run() -> None:
        with pytest.raises(kind) as refused:
            await inspector.inspect(attack(name))
        assert words in refused.value.why + refused.value.what
        assert (await inspector.inspect(GOOD)).manifest.name == "quiet"

    asyncio.run(run())


def test_an_inspection_that_only_lasts_is_ended(make: Callable[..., Inspector]) -> None:
    with pytest.raises(InspectionFailed, match="longer than 1 s"):
        asyncio.run(make(seconds=1).inspect(attack("sleep")))


def test_an_inspection_has_nothing_of_its_program(make: Callable[..., Inspector]) -> None:
    with socket.create_server(("127.0.0.1", 0)), Path(__file__).open():
        held = asyncio.run(make().inspect(attack("what_it_holds"))).manifest.notes
    assert len(held) == 1  # where its answer goes
    assert held[0].startswith("socket:")


def test_an_inspection_has_no_network_and_no_way_to_its_program(
    make: Callable[..., Inspector], monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := plugins.load("fedgate.sandboxes", "bubblewrap").unavailable():
        pytest.skip(reason)  # the same kernel, the same answer
    monkeypatch.setenv("TEST_PROGRAM", str(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as named:
        port = tcp.getsockname()[1]
        named.bind(f"\0fedgate-test-{port}")
        named.listen()
        monkeypatch.setenv("TEST_LISTENER", str(port))
        inspector = make()
        for name in ("call_home", "rule_a_namespace"):
            assert asyncio.run(inspector.inspect(attack(name))).manifest.notes == ()


def test_what_an_archive_unpacks_to_is_bounded_there(make: Callable[..., Inspector]) -> None:
    bomb = pack_files({"attack": b"none", "zeros": bytes(3 * MIB)})
    with pytest.raises(InvalidBundle, match="unpacks to too much"):
        asyncio.run(make().inspect(bomb, limits=BundleLimits(unpacked_bytes=MIB)))


def test_files_are_laid_out_from_there(make: Callable[..., Inspector], tmp_path: Path) -> None:
    asyncio.run(make().unpack(GOOD, tmp_path / "bundle"))
    files = {p.relative_to(tmp_path / "bundle").as_posix(): p for p in tmp_path.rglob("*.py")}
    assert files["app/a.py"].read_bytes() == b"x = 1\n"
    assert files["app/a.py"].stat().st_mode & 0o777 == 0o444
    assert set(Bundle.read(GOOD).tree) == {"attack", "app/a.py"}


def test_one_who_hangs_up_ends_its_inspection(make: Callable[..., Inspector]) -> None:
    inspector = make()
    server = psutil.Process(inspector._process.pid)

    async def run() -> None:
        waiting = asyncio.ensure_future(inspector.inspect(attack("sleep")))
        while not server.children():
            await asyncio.sleep(0.01)
        waiting.cancel()
        while server.children():
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_a_server_that_is_killed_is_started_again(make: Callable[..., Inspector]) -> None:
    inspector = make()
    os.kill(inspector._process.pid, signal.SIGKILL)
    junk = pack_files({"a.py": b""})  # the new one is another interpreter: without our adapter
    with pytest.raises(FedgateError, match="no adapter recognises"):
        asyncio.run(inspector.inspect(junk))


def test_a_server_ends_with_its_program_and_so_does_what_it_inspects(
    make: Callable[..., Inspector],
) -> None:
    inspector = make()
    server = psutil.Process(inspector._process.pid)

    async def begun() -> psutil.Process:
        waiting = asyncio.ensure_future(inspector.inspect(attack("hold_the_gil")))
        while not (children := server.children()):
            await asyncio.sleep(0.01)
        inspector._process._control.close()  # type: ignore[union-attr]
        with pytest.raises(FedgateError):
            await waiting
        return children[0]

    child = asyncio.run(begun())
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
    psutil.wait_procs([child], 30)
    assert not child.is_running()


def test_one_submitter_keeps_no_other_waiting(make: Callable[..., Inspector]) -> None:
    """Four of mallory's, two seats of four at most for each: alice's are all answered meanwhile."""
    inspector = make(cpu_seconds=30)

    async def run() -> None:
        slow = [
            asyncio.ensure_future(inspector.inspect(attack("hold_the_gil"), holder="mallory"))
            for _ in range(4)
        ]
        for _ in range(20):
            await inspector.inspect(GOOD, holder="alice")
        assert not any(one.done() for one in slow)
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    asyncio.run(run())


def test_too_many_that_wait_are_told_to_try_again(make: Callable[..., Inspector]) -> None:
    inspector = make(at_a_time=1, waiting=1)

    async def run() -> None:
        held = [asyncio.ensure_future(inspector.inspect(attack("sleep"))) for _ in range(2)]
        while sum(map(len, inspector._seats._waiting.values())) < 1:
            await asyncio.sleep(0.01)
        with pytest.raises(LimitReached, match="too many bundles are being inspected") as refused:
            await inspector.inspect(GOOD)
        assert refused.value.status == 429
        for one in held:
            one.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        assert (await inspector.inspect(GOOD)).manifest.name == "quiet"

    asyncio.run(run())


@pytest.mark.parametrize(
    "said",
    [
        {"framework": "a", "name": "b", "more": 1},
        {"framework": "a"},
        {"framework": "a", "name": "b", "sites": "site-1"},
        {"framework": "a", "name": "b", "config": {"x": [1]}},
        {"framework": "a", "name": "b", "attaches": 1},
        {"framework": 1, "name": "b"},
        [],
        None,
    ],
)
def test_a_manifest_that_is_none_is_refused(said: object) -> None:
    with pytest.raises(InspectionFailed):
        read_manifest(said)


def test_an_answer_that_was_cut_off_is_none() -> None:
    answer = read_answer(b'{"found": {"manif\n{"ended": -9}\n')
    assert (answer.said, answer.ended) == (None, -9)
    assert read_answer(b"") == read_answer(b"[1]\n")


def test_the_server_is_a_program_of_its_own_where_nobody_forked(tmp_path: Path) -> None:
    inspector = Inspector(("plain",))
    try:
        plain = {"plain.toml": b'name = "n"\nmodule = "w.py"\nrounds = 1\n', "w.py": b""}
        assert asyncio.run(inspector.inspect(pack_files(plain))).manifest.framework == "plain"
        assert psutil.Process(inspector._process.pid).exe() == psutil.Process().exe()
    finally:
        inspector.close()
    assert sys.executable
