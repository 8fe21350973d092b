"""What all tests share: patience for a busy machine, the order in which runners take files, ports,
and commands.
"""

from __future__ import annotations

import gc
import os
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
import warm

# pytest rewrites the modules of its plugins, and these are many: a second for each runner, unless
# the first one may leave what came of it beside them.
_WRITTEN_DOWN, sys.dont_write_bytecode = sys.dont_write_bytecode, False
import hypothesis  # noqa: E402

sys.dont_write_bytecode = _WRITTEN_DOWN

pytest_plugins = ("tests.services.postgresql", "tests.services.s3")
hypothesis.settings.register_profile(
    "fedgate",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fedgate")
# Nothing that is loaded or collected is garbage, and looking for some is a quarter of the time that
# collecting takes each runner. Until pytest_collection_finish.
gc.disable()


#: Modules of programs; what they import comes with them.
OF_PROGRAMS = (
    "fedgate_gateway.cli.commands.enclave",
    "fedgate_gateway.cli.commands.gateway",
    "fedgate_gateway.cli.commands.site",
    "fedgate_gateway.enclave.host",
    "fedgate_gateway.inspection.server",
    "fedgate_gateway.program",
    "fedgate_gateway.site.agent",
)
#: Files that one runner takes together, as they use one federation; the longest are taken first.
TOGETHER = (
    ("flower_control/test_real_flwr.py",),
    ("flare_door/test_real_nvflare.py", "flare_door/test_recipe.py"),
    ("e2e/pipeline/test_kills.py",),
    ("flower/test_endings.py", "flower/test_governed.py"),
    ("e2e/test_dev_federation.py", "e2e/pipeline/test_guard.py"),
    ("e2e/pipeline/test_trust.py",),
    ("e2e/pipeline/test_attacks.py",),
    ("e2e/pipeline/test_shares.py",),
    ("flower/test_apps.py",),
    ("flare/test_jobs.py",),
    ("flare/test_federation.py",),
    ("flare/test_failures.py",),
    ("gateway/test_postgres.py",),
    ("flower/test_end_to_end.py",),
    ("e2e/pipeline/secrets/test_secrets.py",),
    ("flare/test_parity.py",),
)
_TAKEN = {f"tests/{file}": n for n, files in enumerate(TOGETHER) for file in files}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Runners take whole files (``--dist loadfile``), and some of them together."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return f"federation {_TAKEN[file]}" if file in _TAKEN else file

    return Files(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several runners take the longest files first, and then those with the most real processes.

    A long one that is taken last would leave the others idle; the quick ones, taken last, fill the
    gaps. One runner alone begins with the quick ones, as collected: a mistake shows sooner.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = Counter(item.path for item in items if item.get_closest_marker("e2e"))
        last = len(TOGETHER)
        items.sort(
            key=lambda item: (_TAKEN.get(item.nodeid.partition("::")[0], last), -slow[item.path])
        )


def pytest_collection_finish() -> None:
    """What is loaded by now stays, as in a child process of ours once its framework is loaded.

    The adapters collect garbage for every batch of messages. Among the objects of three thousand
    tests that takes most of a second each time, in a child that has frozen its own a millisecond.
    """
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def ports_of_nobody_else() -> Iterator[None]:
    """Federations get ports below those that the kernel gives to whoever asks for any.

    A program that a test stops finds its port free when it starts again.
    """
    if "fedgate_gateway.dev.files" not in sys.modules:
        yield
        return

    def choose(count: int) -> list[int]:
        chosen: list[int] = []
        while len(chosen) < count:
            port = 20_000 + secrets.randbelow(12_000)
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                chosen.append(port)
        return chosen

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedgate_gateway.dev.files.choose", choose)
        yield


@pytest.fixture(scope="session")
def signed() -> Callable[..., bytes]:
    """``signed(archive, submitter="alice", sites=("a",))``: one by a fresh key, for a week."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedgate.bundle import digest_of
    from fedgate_gateway.governance import JobRequest, sign_request
    from fedgate_gateway.link.terms import fingerprint

    fresh = Ed25519PrivateKey.generate()

    def sign(
        archive: bytes,
        *,
        key: Ed25519PrivateKey = fresh,
        recipient: bytes | None = None,
        **fields: Any,
    ) -> bytes:
        now = int(time.time())
        chosen = {
            "project": "health", "bundle": digest_of(archive), "name": "", "submitter": "alice",
            "sites": (), "datasets": (), "min_sites": None, "config": {}, "task_seconds": None,
            "recipient": fingerprint(recipient) if recipient else "",
            "created": now, "expires": now + 7 * 86400, "nonce": secrets.token_hex(16), **fields,
        }  # fmt: skip
        return sign_request(JobRequest(**chosen), key)

    return sign


@pytest.fixture
def fedgate(capsys: pytest.CaptureFixture[str]) -> Callable[..., warm.Ran]:
    """``fedgate("job", "list")``: the command line, in this process."""
    from fedgate_gateway.cli.main import main
    from fedgate_gateway.cli.output import Format, choose

    def run(*arguments: object) -> warm.Ran:
        choose(Format.TABLE)
        code = main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return warm.Ran(code, told.out, told.err)

    return run


@pytest.fixture(scope="session")
def quick_programs() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """``with quick_programs():`` what programs import is paid once for those that start meanwhile.

    `fedgate dev`, the demo and programs that tests start by hand start as they always do.
    """
    made: list[warm.Template] = []

    def in_use() -> AbstractContextManager[None]:
        if not made:
            made.append(warm.Template(*OF_PROGRAMS))
        return made[0].in_use(warm.PROGRAMS)

    yield in_use
    for template in made:
        template.close()


@pytest.fixture(scope="module")
def warm_command() -> Iterator[Callable[..., warm.WarmCommand]]:
    """``warm_command(script, cwd, env)`` starts with its first call."""
    made: list[warm.WarmCommand] = []

    def make(script: Path, cwd: Path, env: dict[str, str]) -> warm.WarmCommand:
        made.append(warm.WarmCommand(script, cwd, env))
        return made[-1]

    yield make
    for command in made:
        command.close()


@pytest.fixture(scope="session")
def opened_log() -> Callable[[Any, str], str]:
    """``opened_log(federation, job)``: the log that a job released to its submitter, opened."""
    from fedgate_gateway.cli.results import read_log
    from fedgate_gateway.cli.submissions import Submissions

    def read(federation: Any, job: str) -> str:
        submissions = Submissions(federation.profile_path)
        return read_log(federation.client, job, submissions=submissions)

    return read
