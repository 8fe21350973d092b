"""What the command line promises before any gateway is asked: help, exit codes, errors."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
import typer

from fedgate_gateway.cli.main import build

HEAVY = ("httpx", "pydantic", "sqlalchemy", "grpc", "cryptography", "numpy", "rich.live", "fastapi")


def leaves(command=None, path=()):
    command = command or typer.main.get_command(build())
    if isinstance(command, click.Group):
        if path and command.invoke_without_command:
            yield path, command
        for name, sub in command.commands.items():
            yield from leaves(sub, (*path, name))
    else:
        yield path, command


COMMANDS = {" ".join(path): command for path, command in leaves()}


def test_help_imports_nothing_that_is_slow():
    code = (
        "import sys; from fedgate_gateway.cli.main import main; main(['job', 'submit', '--help']);"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_each_of_its_options(fedgate, command):
    ran = fedgate(*command.split(), "--help")
    assert ran.code == 0
    assert len(ran.out.split("Usage:")[1].split("Options:")[0].split()) > 5
    for parameter in COMMANDS[command].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.opts[0] in ran.out


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("job logs", "dev")])
def test_everything_that_prints_data_offers_json(command):
    programs = ("gateway", "enclave", "site run")
    offered = [o for p in COMMANDS[command].params for o in p.opts]
    assert ("--format" in offered) != (command in programs)


def test_no_argument_at_all_shows_what_there_is(fedgate):
    ran = fedgate()
    assert ran.code == 2
    assert "fedgate dev --dir" in ran.out + ran.err


def test_the_version_is_that_of_the_distribution(fedgate):
    from fedgate import __version__

    assert fedgate("--version").out.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["job", "submit"],
        ["job", "list", "--format", "xml"],
        ["job", "submit", ".", "--config", "rounds"],
        ["enclave"],
        ["gateway"],
        ["dev", "--dir", "x", "--sites", "1"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_so(fedgate, arguments):
    ran = fedgate(*arguments)
    assert ran.code == 2
    assert "Error" in ran.err
    assert not ran.out


def test_a_missing_profile_is_named_with_its_remedy(fedgate):
    ran = fedgate("job", "list")
    assert ran.code == 78
    assert "no-home/profile.toml" in ran.err
    assert "  why: " in ran.err
    assert "fedgate profile init" in ran.err


def test_errors_are_json_where_json_is_asked_for(fedgate):
    ran = fedgate("job", "list", "--format", "json")
    told = json.loads(ran.err)["error"]
    assert ran.code == told["exit_code"] == 78
    assert told["code"] == "invalid-config"
    assert set(told) == {"code", "what", "why", "remedy", "exit_code"}


def test_a_configuration_with_a_typo_exits_with_78_and_names_the_key(fedgate, tmp_path):
    file = tmp_path / "gateway.toml"
    file.write_text('data = "x"\nprojcts = {}\n')
    ran = fedgate("gateway", "--config", file)
    assert ran.code == 78
    assert "projcts" in ran.err


def test_a_mistake_of_ours_is_a_sentence_and_not_a_trace(fedgate, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("fedgate_gateway.cli.profile.load_profile", broken)
    ran = fedgate("job", "list")
    assert ran.code == 70
    assert "Traceback" not in ran.err
    assert "ZeroDivisionError: by zero" in ran.err
    assert "FEDGATE_DEBUG" in ran.err
