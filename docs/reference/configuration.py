"""The configuration reference, from the pydantic models and the comments above their fields."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from fedgate_gateway.cli.profile import Profile
from fedgate_gateway.config import (
    EnclaveConfig,
    GatewayConfig,
    ProjectConfig,
    Section,
    SiteConfig,
)

FILES: tuple[tuple[str, type[Section], str], ...] = (
    ("gateway.toml", GatewayConfig, "`fedgate gateway --config gateway.toml`"),
    ("enclave.toml", EnclaveConfig, "`fedgate enclave --config enclave.toml`"),
    ("site.toml", SiteConfig, "`fedgate site run --config site.toml`"),
    ("project file", ProjectConfig, "one for each project; enclave and sites hold a copy each"),
    ("profile.toml", Profile, "a person's: `fedgate … --profile profile.toml`"),
)
_INTRO = """\
# Configuration

<!-- made by docs/generate.py from the configuration models; do not edit -->

Programs read TOML. Relative paths are taken from the folder of the file that names them. An
unknown key is an error, so that a typo cannot be silent. `fedgate dev --dir D --prepare-only`
writes a complete set of files to start from.
"""


def page() -> str:
    parts = [_INTRO]
    shown: set[type[Section]] = set()
    for title, model, use in FILES:
        parts.append(f"## {title}\n\n{use}\n")
        for name, section in _sections(model, ""):
            if section in shown:
                parts.append(f"### [{name}]\n\nAs [above](#{_anchor(section)}).\n")
                continue
            shown.add(section)
            heading = f'### [{name}] <a id="{_anchor(section)}"></a>\n\n' if name else ""
            parts.append(heading + _doc(section) + _table(section))
    return "\n".join(parts)


def _sections(model: type[Section], name: str) -> Iterator[tuple[str, type[Section]]]:
    """The model and every section below it, depth first, with its TOML name."""
    yield name, model
    for key, field in model.model_fields.items():
        below, keyed = _section_of(field.annotation)
        if below is not None:
            label = ".".join(part for part in (name, key) if part) + (".NAME" if keyed else "")
            yield from _sections(below, label)


def _section_of(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section a field holds, and whether it is a table of named ones."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    for argument in typing.get_args(annotation):
        found, _ = _section_of(argument)
        if found is not None:
            return found, "Mapping" in str(annotation)
    return None, False


def _doc(section: type[Section]) -> str:
    text = section.__dict__.get("__doc__") or ""
    return f"{inspect.cleandoc(text)}\n\n" if text else ""


def _anchor(section: type[Section]) -> str:
    return section.__name__.lower()


def _table(section: type[Section]) -> str:
    comments = field_comments(section)
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, field in section.model_fields.items():
        below, _ = _section_of(field.annotation)
        if below is not None:
            kind, default = "table", "**required**" if field.is_required() else "see below"
        else:
            kind = _type(field.annotation)
            shown = _toml(field.default)
            default = "**required**" if field.is_required() else f"`{shown}`" if shown else "none"
        bounds = "".join(f", {b}" for b in _bounds(field.metadata))
        meaning = comments.get(key, "").replace("|", "\\|").replace("``", "`")
        rows.append(f"| `{key}` | {kind}{bounds} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def field_comments(section: type[Section]) -> dict[str, str]:
    """The ``#:`` comments above fields, inherited ones too; a field's own comes last."""
    found: dict[str, str] = {}
    base = section.__base__
    if base is not None and base is not Section and issubclass(base, Section):
        found = field_comments(base)
    lines = inspect.getsource(section).splitlines()
    tree = ast.parse(
        inspect.cleandoc("\n".join(["", *lines])) if lines[0][0] == " " else "\n".join(lines)
    )
    body = tree.body[0]
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above = []
        at = node.lineno - 2
        while at >= 0 and lines[at].strip().startswith("#:"):
            above.insert(0, lines[at].strip()[2:].strip())
            at -= 1
        if above or node.target.id not in found:
            found[node.target.id] = " ".join(above)
    return found


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{_toml(a)}`" for a in arguments)
    if origin in (typing.Union, types.UnionType):
        kinds = [_type(a) for a in arguments if a is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if "Mapping" in str(origin):
        return f"table of {_type(arguments[1])}"
    names = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name).replace("Path", "path")


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for item in metadata:
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if hasattr(item, name):
                yield f"{sign} {getattr(item, name)}"
        if getattr(item, "pattern", None):
            yield f"matches `{item.pattern}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{}" if not value else re.sub("'", '"', str(value))
    if value is None:
        return ""
    return f'"{value}"' if isinstance(value, str) else str(value)
