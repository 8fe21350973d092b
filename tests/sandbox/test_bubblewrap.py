"""What job code really can and cannot do in the sandbox: asked of a process inside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedgate.errors import PluginUnavailable
from fedgate_gateway.child.interpreter import readable_roots
from fedgate_gateway.sandbox import bubblewrap
from fedgate_gateway.sandbox.bubblewrap import Bubblewrap
from fedgate_gateway.sandbox.choose import best_available, open_sandbox
from fedgate_gateway.sandbox.contract import Confinement

pytestmark = pytest.mark.e2e
_REASON = Bubblewrap().unavailable()
needs_bwrap = pytest.mark.skipif(_REASON is not None, reason=str(_REASON))


@pytest.fixture
def inside(tmp_path: Path) -> Callable[..., Any]:
    """Runs lines of Python in a sandbox as a worker's would be; their answer is in ``out``."""
    for name in ("bundle", "scratch", "state", "data", "other-site"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)

    def run(
        code: str,
        *,
        environment: dict[str, str] | None = None,
        memory: dict[Path, int] | None = None,
        temporary: int = 0,
    ) -> Any:
        code = f"import json, os\nout = None\n{textwrap.dedent(code)}\nprint(json.dumps(out))"
        confinement = Confinement(
            cwd=tmp_path / "scratch",
            read=[*readable_roots(""), tmp_path / "bundle", tmp_path / "data"],
            write=[tmp_path / "scratch", tmp_path / "state"],
            memory=memory or {},
            temporary_bytes=temporary,
        )
        ran = subprocess.run(
            Bubblewrap().command([sys.executable, "-I", "-c", code], confinement),
            env=environment or {"PATH": "/usr/bin:/bin"}, cwd=tmp_path / "scratch",
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def attempt(expression: str) -> str:
    return f"""
        try:
            out = repr({expression})
        except OSError as error:
            out = type(error).__name__
    """


@needs_bwrap
def test_its_own_files_are_there(inside: Any, tmp_path: Path) -> None:
    assert inside(f"out = [open('{tmp_path}/' + n + '/file').read() for n in ('bundle', 'data')]")
    assert inside("open('new', 'w').write('x'); out = os.getcwd()") == str(tmp_path / "scratch")
    assert (tmp_path / "scratch" / "new").read_text() == "x"


@needs_bwrap
@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/passwd", "/etc/hostname", "/root", "/home"])
def test_files_of_the_machine_are_not(inside: Any, path: str) -> None:
    found = inside(attempt(f"(os.listdir if os.path.isdir('{path}') else open)('{path}')"))
    if path == "/root":  # the interpreter may lie below it; nothing else of it is shown
        assert found in ("FileNotFoundError", "PermissionError") or ".ssh" not in found
    else:
        assert found in ("FileNotFoundError", "PermissionError")


@needs_bwrap
def test_another_sites_data_and_our_own_keys_are_not(inside: Any, tmp_path: Path) -> None:
    assert inside(attempt(f"open('{tmp_path}/other-site/file')")) == "FileNotFoundError"
    expected = ["bundle", "data", "scratch", "state"]
    assert inside(f"out = sorted(os.listdir('{tmp_path}'))") == expected
    (tmp_path / "scratch" / "link").symlink_to(tmp_path / "other-site" / "file")
    assert inside(attempt("open('link')")) == "FileNotFoundError"


@needs_bwrap
@pytest.mark.parametrize("place", ["bundle", "data"])
def test_what_it_may_only_read_it_cannot_change(inside: Any, tmp_path: Path, place: str) -> None:
    for expression in (
        f"open('{tmp_path}/{place}/file', 'w')",
        f"open('{tmp_path}/{place}/new', 'w')",
        f"os.unlink('{tmp_path}/{place}/file')",
        f"os.chmod('{tmp_path}/{place}/file', 0o777)",
    ):
        assert inside(attempt(expression)) in ("OSError", "PermissionError"), expression
    assert (tmp_path / place / "file").read_text() == place


@needs_bwrap
@pytest.mark.parametrize("path", ["/usr/x", "/usr/bin/x", "/lib/x"])
def test_nothing_of_the_system_can_be_written(inside: Any, path: str) -> None:
    assert inside(attempt(f"open('{path}', 'w')")) in ("OSError", "PermissionError")


@needs_bwrap
def test_what_it_writes_elsewhere_is_gone_with_it(inside: Any, tmp_path: Path) -> None:
    inside("open('/tmp/left-behind', 'w').write('x')")
    assert inside("out = os.path.exists('/tmp/left-behind')") is False
    assert not Path("/tmp/left-behind").exists()


@needs_bwrap
def test_a_folder_in_memory_is_empty_at_first_and_leaves_nothing_behind(
    inside: Any, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    code = """
        before = os.listdir('.')
        open('secret', 'w').write('weights')
        mounts = [line.split() for line in open('/proc/self/mountinfo')]
        (kind,) = [m[m.index('-') + 1] for m in mounts if m[4] == os.getcwd()]
        out = [before, kind, os.stat('.').st_mode & 0o777]
    """
    assert inside(code, memory={scratch: 1 << 20}) == [[], "tmpfs", 0o700]
    assert [path.name for path in scratch.iterdir()] == ["file"]
    assert inside("out = os.listdir('.')", memory={scratch: 1 << 20}) == []


@needs_bwrap
@pytest.mark.parametrize("place", [".", "/tmp", "/dev/shm"])
def test_a_folder_in_memory_holds_no_more_than_it_may(
    inside: Any, tmp_path: Path, place: str
) -> None:
    bounds = {"memory": {tmp_path / "scratch": 1 << 20}, "temporary": 1 << 20}
    assert inside(attempt(f"open('{place}/x', 'wb').write(bytes(900_000))"), **bounds) == "900000"
    assert inside(attempt(f"open('{place}/x', 'wb').write(bytes(2 << 20))"), **bounds) == "OSError"


@needs_bwrap
def test_there_is_no_network_not_even_to_this_machine(inside: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        tried = f"__import__('socket').create_connection(('127.0.0.1', {port}), 2)"
        assert inside(attempt(tried)) == "ConnectionRefusedError"
    assert (
        inside(attempt("__import__('socket').create_connection(('1.1.1.1', 53), 2)")) == "OSError"
    )
    interfaces = "out = [name for _, name in __import__('socket').if_nameindex()]"
    assert inside(interfaces) == ["lo"]


@needs_bwrap
@pytest.mark.parametrize("name", ["localhost", "fedgate"])
def test_the_names_of_the_machine_that_it_sees_are_its_own(inside: Any, name: str) -> None:
    """Libraries that let processes of one machine talk look them up."""
    code = "out = [__import__('socket').gethostname(), __import__('socket').gethostbyname(%r)]"
    assert inside(code % name) == ["fedgate", "127.0.0.1"]
    assert inside("out = len(open('/etc/hosts').readlines())") == 2


@needs_bwrap
def test_sockets_with_abstract_names_do_not_reach_out(inside: Any) -> None:
    name = f"\0fedgate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        tried = f"__import__('socket').socket(__import__('socket').AF_UNIX).connect({name!r})"
        assert inside(attempt(tried)) == "ConnectionRefusedError"


@needs_bwrap
def test_it_has_no_capabilities_and_cannot_get_any(inside: Any) -> None:
    status = inside("out = open('/proc/self/status').read()")
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(lines[kind], 16) == 0, kind
    assert lines["NoNewPrivs"].strip() == "1"
    assert inside("out = [os.getuid(), os.getgid()]") == [65534, 65534]


@needs_bwrap
def test_it_sees_no_process_but_its_own(inside: Any) -> None:
    processes = inside("out = [int(p) for p in os.listdir('/proc') if p.isdigit()]")
    assert sorted(processes) == [1, 2]  # the sandbox itself, and the one that asks
    assert inside(attempt(f"os.kill({os.getpid()}, 0)")) == "ProcessLookupError"


@needs_bwrap
@pytest.mark.parametrize(
    "call",
    [
        "mount(b'none', b'/mnt', b'tmpfs', 0, None)",
        "sethostname(b'x', 1)",
        "setns(0, 0)",
        "chroot(b'/usr')",
        "unshare(0x10000000)",  # CLONE_NEWUSER: in a namespace of its own it would have them all
        "unshare(0x10000000 | 0x20000)",
        "syscall(56, 0x10000000 | 17, 0, 0, 0, 0)",  # clone, x86-64
    ],
)
def test_calls_of_the_mighty_fail(inside: Any, call: str) -> None:
    assert inside(f"out = __import__('ctypes').CDLL(None).{call}") == -1


@needs_bwrap
def test_nobody_in_it_opens_the_way_to_further_user_namespaces(inside: Any) -> None:
    limit = "/proc/sys/user/max_user_namespaces"
    assert inside(attempt(f"open('{limit}', 'w').write('100')")) in ("OSError", "PermissionError")


@needs_bwrap
def test_a_bwrap_that_cannot_close_user_namespaces_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "bwrap"
    old.write_text("#!/bin/sh\necho 'bwrap: Unknown option --disable-userns' >&2; exit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    bubblewrap._probe.cache_clear()
    try:
        assert "close user namespaces" in str(Bubblewrap().unavailable())
    finally:
        bubblewrap._probe.cache_clear()


@needs_bwrap
def test_it_cannot_type_into_the_terminal_of_whoever_started_it(inside: Any) -> None:
    assert inside("out = os.getsid(0)") != os.getsid(0)
    assert inside(attempt("open('/dev/tty')")) in ("OSError", "FileNotFoundError")


# -- choosing -----------------------------------------------------------------------------------


def test_a_sandbox_that_cannot_be_used_here_is_refused_and_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bubblewrap, "_probe", lambda: "bwrap cannot make namespaces here")
    with pytest.raises(PluginUnavailable, match="cannot make namespaces"):
        open_sandbox("bubblewrap")
    assert best_available() == "process"


def test_a_name_that_is_no_sandbox_is_refused() -> None:
    with pytest.raises(PluginUnavailable):
        open_sandbox("none")


def test_the_one_that_confines_nothing_says_so() -> None:
    assert not open_sandbox("process").confines
    if _REASON is None:
        assert open_sandbox("bubblewrap").confines
