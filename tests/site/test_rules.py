"""What may change under a running agent, and what may not; whose process it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedgate.errors import InvalidConfig
from fedgate_gateway.config import SiteConfig, load_config
from fedgate_gateway.site.rules import Rules
from fedgate_gateway.site.running import known_as_running, running_process

SITE = """
name = "a"
data = "{data}"
gateway = "localhost:1"
api = "https://localhost:2"
policy = "policy.cedar"
projects = []
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "policy.cedar").write_text("permit(principal, action, resource);")
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(data=tmp_path))
    return path


def test_an_owner_changes_limits_guard_and_policy_but_not_who_the_site_is(file: Path) -> None:
    rules = Rules.of(load_config(SiteConfig, file))
    text = file.read_text()
    (file.parent / "policy.cedar").write_text("forbid(principal, action, resource);")
    file.write_text(f'max_jobs = 7\n{text}\n[guard]\nframes = ["a:b"]\n[resources]\ngpus = 1\n')
    again = rules.again(file)
    assert again.config.max_jobs == 7
    assert again.config.guard.frames == ("a:b",)
    assert again.decider.policy.digest != rules.decider.policy.digest
    for wrong in (text.replace('"a"', '"b"'), text.replace("localhost:1", "evil:1")):
        file.write_text(wrong)
        with pytest.raises(InvalidConfig, match="cannot change while the agent runs"):
            rules.again(file)
    (file.parent / "policy.cedar").unlink()
    file.write_text(text)
    with pytest.raises(InvalidConfig):
        rules.again(file)


def test_the_process_is_known_while_it_runs_and_no_longer(tmp_path: Path) -> None:
    assert running_process(tmp_path) is None
    with known_as_running(tmp_path):
        assert running_process(tmp_path) == os.getpid()
    assert running_process(tmp_path) is None
    (tmp_path / "agent.pid").write_text("1\n")  # of one that was killed: its number is another's
    assert running_process(tmp_path) is None
