"""docs/guides/operations.md, followed to its end by somebody who has nothing else."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fedgate_gateway.dev.ports import HOST, choose
from fedgate_gateway.sandbox.choose import best_available

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "operations.md"
_BLOCK = re.compile(r"^```sh (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What needs root, a registry or a service is not run; whatever else a block does, is.
_SYSTEM = ("apt ", "/opt/", "python3 -m venv", "useradd", "systemctl", "journalctl", "sudo ")


def blocks() -> list[tuple[str, str]]:
    text = GUIDE.read_text()
    assert len(_BLOCK.findall(text)) == text.count("```sh"), "each block names its machine"
    return _BLOCK.findall(text)


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "share").mkdir()
    yield tmp_path
    for file in tmp_path.glob("*/*.pid"):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(file.read_text()))
            if process.cwd() == str(file.parent):  # and not another by the same number
                process.kill()


def script() -> str:
    """Each block in a shell of its own, in its machine's folder."""
    steps = ["set -eu"]
    for folder, commands in blocks():
        if folder == "system":
            for line in commands.splitlines():
                assert line.startswith(_SYSTEM), line
            continue
        steps.append(f'mkdir -p "$TOP/{folder}"\n(cd "$TOP/{folder}"\n{commands})')
    return "\n".join(steps)


def test_the_guide_can_be_followed_to_its_end(scratch: Path) -> None:
    api, link = choose(2)
    variables = {
        "GATEWAY": HOST, "LISTEN": HOST, "API": str(api), "LINK": str(link),
        "SANDBOX": best_available(), "SHARE": str(scratch / "share"),
        "EXAMPLES": str(ROOT / "examples"), "TOP": str(scratch), "HOME": str(scratch),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }  # fmt: skip
    said = scratch / "said"
    with said.open("w") as out:
        ran = subprocess.run(
            ["bash", "-c", script()],
            check=False, env=variables, stdin=subprocess.DEVNULL, stdout=out,
            stderr=subprocess.STDOUT, timeout=240,
        )  # fmt: skip
    assert ran.returncode == 0, said.read_text()[-4000:]
    assert list((scratch / "alice" / "trained").glob("model*")), said.read_text()
    logs = [scratch / "gateway" / "gateway.log", scratch / "enclave" / "enclave.log",
            *scratch.glob("hospital-*/site.log")]  # fmt: skip
    told = {log: [json.loads(line) for line in log.read_text().splitlines()] for log in logs}
    for log, lines in told.items():
        assert any("job" in line for line in lines), f"{log} tells of the job by its id"
    kinds = {line.get("kind") for lines in told.values() for line in lines}
    assert {
        "peer.enrolled", "token.created", "token.revoked", "peer.revoked", "link.opened",
        "job.submitted", "job.transition", "session.opened", "enclave.appraised", "job.ended",
    } <= kinds  # fmt: skip
