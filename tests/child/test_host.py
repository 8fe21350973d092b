"""What a parent makes of a child that was taken over: one error with its reason, and its end."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fedgate.errors import (
    DeadlineExceeded,
    FedgateError,
    InvalidConfig,
    InvalidMessage,
    WorkloadFailed,
)
from fedgate.manifest import Manifest
from fedgate_gateway.child.host import Child, ChildSpec
from fedgate_gateway.config import Runtime

Start = Callable[..., "object"]
pytestmark = pytest.mark.e2e


def run(watch: Callable[[], object]) -> FedgateError | None:
    async def go() -> FedgateError | None:
        return await watch().end()  # type: ignore[attr-defined]

    return asyncio.run(go())


@pytest.mark.parametrize(
    "code",
    [
        "sock.send(b'garbage'); time.sleep(60)",
        "sock.send(b'\\0' * 200_000); time.sleep(60)",
        "say({'t': 'part', 'k': [], 's': 3}, b'abc'); time.sleep(60)",
        "say({'t': 'part', 'k': 1, 's': 4}, b'abc'); time.sleep(60)",
        "say({'t': 'part', 'k': 1, 's': 100}, fd=memfd(4096, 0)); time.sleep(60)",
        "say({'t': 'part', 'k': 1, 's': 9000}, fd=memfd(4096)); time.sleep(60)",
        "say({'t': 'part', 'k': 1, 's': 1 << 21}, fd=memfd(1 << 22)); time.sleep(60)",
        "say({'t': 'part', 'k': 1, 's': 3}, b'abc')\nfor _ in '12': say({'t': 'drop', 'k': 1})",
        "say({'t': 'result', 'model': 99}); time.sleep(60)",
        "say({'t': 'result', 'note': 'x'}); time.sleep(60)",
    ],
)
def test_a_message_that_cannot_be_ends_the_child_at_once(impostor: Start, code: str) -> None:
    assert isinstance(run(lambda: impostor(code)), InvalidMessage)


def test_freeing_what_was_never_lent_is_harmless(impostor: Start) -> None:
    code = """
    for k in ([], {}, None, 7, 'x', 1.5):
        say({'t': 'free', 'k': k})
    say({'t': 'ready'})
    say({'t': 'done'})
    """
    watched = []

    async def go() -> FedgateError | None:
        watched.append(impostor(code))
        return await watched[0].end()

    assert asyncio.run(go()) is None
    assert [h["t"] for h, _ in watched[0].messages] == ["ready"]


def test_everything_a_child_said_before_it_ended_is_heard(impostor: Start) -> None:
    async def go() -> tuple[int, FedgateError | None]:
        watched = impostor("for i in range(900): say({'t': 'frame', 'n': i})\nsay({'t': 'done'})")
        await asyncio.sleep(0)  # the loop is busy elsewhere while the child speaks and ends
        os.waitid(os.P_PID, watched.child.pid, os.WEXITED | os.WNOWAIT)
        error = await watched.end()
        return len(watched.messages), error

    assert asyncio.run(go()) == (900, None)


def test_a_child_waits_while_what_it_said_has_no_room(impostor: Start) -> None:
    async def go() -> tuple[int, int, FedgateError | None]:
        full = [True]
        watched = impostor(
            "for i in range(20_000): say({'t': 'frame', 'n': i}, b'x' * 1000)\nsay({'t': 'done'})",
            crowded=lambda: full[0],
        )
        await asyncio.sleep(0.3)
        before = len(watched.messages)
        full[0] = False
        error = await watched.end()
        return before, len(watched.messages), error

    assert asyncio.run(go()) == (0, 20_000, None)


def test_nothing_is_heard_after_a_message_that_cannot_be(impostor: Start) -> None:
    async def go() -> list[str]:
        watched = impostor(
            "say({'t': 'one'}); sock.send(b'x'); say({'t': 'two'}); say({'t': 'done'})"
        )
        os.waitid(os.P_PID, watched.child.pid, os.WEXITED | os.WNOWAIT)
        assert isinstance(await watched.end(), InvalidMessage)
        return [h["t"] for h, _ in watched.messages]

    assert asyncio.run(go()) == ["one"]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("sys.exit(0)", "exit code 0"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
    ],
)
def test_a_child_that_just_ends_is_told_with_how_it_ended(
    impostor: Start, code: str, why: str
) -> None:
    error = run(lambda: impostor(code))
    assert isinstance(error, WorkloadFailed)
    assert why in str(error)


def test_a_child_that_hangs_up_but_lives_on_is_ended(impostor: Start) -> None:
    error = run(lambda: impostor("sock.close(); time.sleep(60)"))
    assert "SIGKILL" in str(error)


def test_an_empty_datagram_counts_as_hanging_up(impostor: Start) -> None:
    assert run(lambda: impostor("sock.send(b''); time.sleep(60)")) is not None


def test_a_child_that_never_says_a_word_is_given_up(impostor: Start) -> None:
    error = run(lambda: impostor("time.sleep(60)", start_seconds=0.5))
    assert isinstance(error, DeadlineExceeded)


def test_a_child_that_does_not_read_is_given_up(
    impostor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedgate_gateway.child.host._QUEUE", 50)

    async def go() -> FedgateError | None:
        watched = impostor("say({'t': 'ready'}); time.sleep(60)")
        await watched.heard("ready")
        for _ in range(200):
            watched.child.send("task", note=bytes(40_000))
        return await watched.end()

    assert "does not read" in str(asyncio.run(go()))


def test_a_child_told_to_stop_that_does_not_is_killed(impostor: Start) -> None:
    async def go() -> None:
        watched = impostor(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN); say({'t': 'ready'}); time.sleep(60)"
        )
        await watched.heard("ready")
        await asyncio.wait_for(watched.child.stop(), 55)
        assert watched.ends == [None]  # being stopped is no failure

    asyncio.run(go())


def test_what_a_child_prints_is_kept_up_to_its_limit(impostor: Start, tmp_path: Path) -> None:
    async def go() -> bytes:
        watched = impostor(
            "say({'t': 'done'})\nfor _ in range(400): os.write(1, b'x' * 10_000)", log_bytes=100_000
        )
        assert await watched.end() is None
        return watched.log

    assert len(asyncio.run(go())) == 100_000
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(b"x" * 100_000)
    assert b"limit is reached" in kept
    assert len(kept) < 100_200


def test_processes_that_a_child_leaves_behind_end_with_it(
    impostor: Start, ends: Callable[[int], bool]
) -> None:
    async def go() -> int:
        watched = impostor(
            "left = subprocess.Popen(['sleep', '60']); say({'t': 'left', 'pid': left.pid})"
        )
        left = await watched.heard("left")
        await watched.end()
        return int(left["pid"])

    assert ends(asyncio.run(go()))


def test_a_child_inherits_neither_secrets_of_the_environment_nor_descriptors(
    impostor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDGATE_SECRET", "hunter2")
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)

    async def go() -> dict[str, object]:
        watched = impostor(
            "fds = os.listdir('/proc/self/fd')\n"
            "say({'t': 'me', 'env': list(os.environ), 'fds': fds})"
        )
        me = await watched.heard("me")
        await watched.end()
        return me

    me = asyncio.run(go())
    os.close(secret)
    assert "FEDGATE_SECRET" not in me["env"]
    assert len(me["fds"]) == 5  # 0, 1, 2, its socket, and the listing itself


def test_an_interpreter_that_does_not_work_is_a_configuration_error_and_leaks_nothing(
    tmp_path: Path,
) -> None:
    from fedgate_gateway.sandbox.process import UnconfinedProcess

    async def go() -> tuple[int, int]:
        asyncio.get_running_loop()
        before = len(list(Path("/proc/self/fd").iterdir()))
        spec = ChildSpec(
            role="worker", job="j", manifest=Manifest("plain", "x"), root=tmp_path,
            scratch=tmp_path / "s", sites=["a"], adapters=[],
        )  # fmt: skip
        with pytest.raises(InvalidConfig, match="interpreter"):
            Child(
                spec, Runtime(sandbox="process", interpreter="/nonexistent/python"),
                UnconfinedProcess(), on_message=print, on_end=print, log=tmp_path / "log",
            )  # fmt: skip
        return before, len(list(Path("/proc/self/fd").iterdir()))

    before, after = asyncio.run(go())
    assert before == after
