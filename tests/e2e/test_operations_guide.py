"""docs/guides/operations.md, followed to its end by somebody who has nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedgate_gateway.dev.ports import HOST, choose
from fedgate_gateway.sandbox.choose import best_available

#: Programs start some thirty times: a minute of a quiet machine, and more than a suite has.
pytestmark = [pytest.mark.e2e, pytest.mark.torture, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "operations.md"
_SECONDS = 500
_BLOCK = re.compile(r"^```sh (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: What needs root, a registry or a service is not run; whatever else a block does, is.
_SYSTEM = ("apt ", "/opt/", "python3 -m venv", "useradd", "systemctl", "journalctl", "sudo ")


def blocks() -> list[tuple[str, str]]:
    text = GUIDE.read_text()
    assert len(_BLOCK.findall(text)) == text.count("```sh"), "each block names its machine"
    return _BLOCK.findall(text)


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


def follow(top: Path, variables: dict[str, str]) -> tuple[int, str]:
    """Exit code and what was printed; nothing of it runs on."""
    said = top / "said"
    with said.open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script()],
            env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            shell.wait(_SECONDS)
        finally:
            os.killpg(shell.pid, signal.SIGKILL)  # the programs are its group
            code = shell.wait()
    return code, said.read_text()


def test_the_guide_can_be_followed_to_its_end(tmp_path: Path) -> None:
    api, link = choose(2)
    (tmp_path / "share").mkdir()
    variables = {
        "GATEWAY": HOST, "LISTEN": HOST, "API": str(api), "LINK": str(link),
        "SANDBOX": best_available(), "SHARE": str(tmp_path / "share"),
        "EXAMPLES": str(ROOT / "examples"), "TOP": str(tmp_path), "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }  # fmt: skip
    code, said = follow(tmp_path, variables)
    assert code == 0, said[-4000:]
    assert (tmp_path / "alice" / "trained" / "model.safetensors").exists(), said[-4000:]
    logs = [tmp_path / "gateway" / "gateway.log", tmp_path / "enclave" / "enclave.log",
            *tmp_path.glob("hospital-*/site.log")]  # fmt: skip
    told = {log: [json.loads(line) for line in log.read_text().splitlines()] for log in logs}
    assert len(told) == 4
    for log, lines in told.items():
        assert any("job" in line for line in lines), f"{log} tells of the job by its id"
    kinds = {line.get("kind") for lines in told.values() for line in lines}
    assert {
        "peer.enrolled", "token.created", "token.revoked", "peer.revoked", "link.opened",
        "job.submitted", "job.transition", "session.opened", "enclave.appraised", "job.ended",
    } <= kinds  # fmt: skip
