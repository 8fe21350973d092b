"""The CLI reference, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import typer

from fedgate.errors import FedgateError
from fedgate_gateway.cli.main import build

_INTRO = """\
# Command line

<!-- made by docs/generate.py from the commands; do not edit -->

Every command takes `--help`. Commands that show something take `--format json`, with stable keys.
On a terminal progress moves; elsewhere it is plain lines. People use a
[profile](configuration.md#profiletoml), named by `--profile` or `$FEDGATE_PROFILE`.
"""


def page() -> str:
    root = typer.main.get_command(build())
    parts = [_INTRO, "## Exit codes\n", _exit_codes()]
    for name, command in _walk(root, "fedgate"):
        parts.append(_section(name, command))
    return "\n".join(parts)


def _exit_codes() -> str:
    codes: dict[int, list[str]] = {0: ["done"], 2: ["wrong usage"], 130: ["interrupted"]}
    for error in [FedgateError, *_subclasses(FedgateError)]:
        if error.code not in codes.setdefault(error.exit_code, []):
            codes[error.exit_code].append(error.code)
    rows = ["| code | errors |", "|---|---|"]
    rows += [f"| {code} | {', '.join(sorted(codes[code]))} |" for code in sorted(codes)]
    return "\n".join(rows) + "\n"


def _subclasses(kind: type[FedgateError]) -> Iterator[type[FedgateError]]:
    for sub in kind.__subclasses__():
        if sub.__module__ == FedgateError.__module__:
            yield sub
            yield from _subclasses(sub)


def _walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    children = getattr(command, "commands", {})
    if name != "fedgate" and (not children or command.callback is not None):
        yield name, command
    for key, child in sorted(children.items()):
        if not child.hidden:
            yield from _walk(child, f"{name} {key}")


def _section(name: str, command: click.Command) -> str:
    arguments, options = [], []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            arguments.append(parameter)
        else:
            options.append(parameter)
    usage = " ".join([name, *[_argument(a) for a in arguments], "[OPTIONS]" if options else ""])
    parts = [f"## {name}\n", _help(command.help or ""), f"```\n{usage.strip()}\n```\n"]
    rows = [_row(p) for p in [*arguments, *options]]
    if rows:
        parts.append("| option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _argument(parameter: click.Parameter) -> str:
    name = (parameter.metavar or parameter.name or "").upper().replace("...", "")
    name += "..." if parameter.nargs == -1 or parameter.multiple is True else ""
    return name if parameter.required else f"[{name}]"


def _row(parameter: click.Parameter) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_argument(parameter)}`"
    else:
        names = ", ".join(f"`{o}`" for o in [*parameter.opts, *parameter.secondary_opts])
        flag = getattr(parameter, "is_flag", False)
        if isinstance(parameter.type, click.Choice):
            names += " " + "\\|".join(str(getattr(c, "value", c)) for c in parameter.type.choices)
        elif not flag:
            names += f" {parameter.type.name.upper().replace(' RANGE', '')}"
    text = " ".join((getattr(parameter, "help", "") or "").split())
    if parameter.required and parameter.param_type_name != "argument":
        text += " Required."
    return f"| {names} | {text.replace('|', chr(92) + '|').strip()} |"


def _help(text: str) -> str:
    """Click's ``\\b`` marks a block whose lines stay as they are: examples."""
    parts = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            parts.append("```sh\n" + block.removeprefix("\b").strip("\n") + "\n```")
        else:
            parts.append(" ".join(block.split()))
    return "\n\n".join(parts) + "\n"
