"""Opaque traffic that a job's own code is seen to need, read from its files without running them.

Calls that send messages under a constant topic name their frame. A topic that is put together when
the job runs cannot be told beforehand: then a reviewer is told where, so that nobody has to guess
why a job waits for an answer that a guard refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fedgate.bundle import BundleTree
from fedgate_flare.needs import AUX, RETRIEVERS, STREAMS

#: Method -> where its topic stands among the arguments, if not by name.
_SENDS = {
    "send_aux_request": 1,
    "multicast_aux_requests": 0,
    "send_aux_to_targets": 1,
    "fire_and_forget_aux_request": -1,  # a site's engine has it first, the server's second
}
_STREAMERS = frozenset({"ContainerStreamer", "FileStreamer", "ObjectStreamer", "JobLogStreamer"})
_MAX_BYTES, _MAX_TOPIC, _MAX_NOTED = 1 << 20, 200, 5


@dataclass(frozen=True)
class CodeFrames:
    frames: frozenset[str]
    #: "file:line" of calls whose topic is not a constant.
    unknown: tuple[str, ...]

    def notes(self) -> list[str]:
        if not self.unknown:
            return []
        places = ", ".join(self.unknown[:_MAX_NOTED])
        more = len(self.unknown) - _MAX_NOTED
        return [
            f"sends messages under topics that it chooses at run time ({places}"
            + (f" and {more} more" if more > 0 else "")
            + f"): a site whose guard does not list them under {AUX} drops them, and the job may "
            "wait for an answer until it gives up"
        ]


def read(files: BundleTree) -> CodeFrames:
    """Of all Python files that the job brings."""
    frames: set[str] = set()
    unknown: list[str] = []
    trees = list(_trees(files))
    constants = _constants(tree for _, tree in trees)
    for path, tree in trees:
        for node in ast.walk(tree):
            name = _name(node.func) if isinstance(node, ast.Call) else ""
            if isinstance(node, ast.Call) and name in _SENDS:
                topic = _topic(node, name, constants)
                if topic:
                    frames.add(f"{AUX}:{topic}")
                else:
                    unknown.append(f"{path.rsplit('/', 1)[-1]}:{node.lineno}")
            elif isinstance(node, ast.Call) and name in RETRIEVERS:
                topic = _constant(_keyword(node, "topic"), constants) or name
                frames |= {STREAMS, f"{AUX}:{topic}"}
            elif isinstance(node, ast.ClassDef) and RETRIEVERS & {_name(b) for b in node.bases}:
                frames |= {STREAMS, f"{AUX}:{node.name}"}
            elif isinstance(node, ast.Name | ast.Attribute) and _name(node) in _STREAMERS:
                frames.add(STREAMS)
    return CodeFrames(frozenset(frames), tuple(unknown))


def _trees(files: BundleTree) -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(files):
        if path.endswith(".py") and len(files[path]) <= _MAX_BYTES:
            try:
                yield path, ast.parse(files[path])
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue  # such a file cannot be imported either


def _constants(trees: Iterable[ast.AST]) -> Mapping[str, str]:
    """Names that are given one text, and one only, anywhere in the job's code."""
    found: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                value = node.value
                text = value.value if isinstance(value, ast.Constant) else None
                for target in targets:
                    if name := _name(target):
                        found.setdefault(name, set()).add(text if isinstance(text, str) else "")
    return {name: min(texts) for name, texts in found.items() if len(texts) == 1}


def _topic(call: ast.Call, name: str, constants: Mapping[str, str]) -> str:
    given = _keyword(call, "topic")
    if given is None and _SENDS[name] >= 0 and len(call.args) > _SENDS[name]:
        given = call.args[_SENDS[name]]
    if given is not None or name != "fire_and_forget_aux_request":
        return _constant(given, constants)
    return next((t for a in call.args[:2] if (t := _constant(a, constants))), "")


def _constant(node: ast.expr | None, constants: Mapping[str, str]) -> str:
    """The text, if it is known and can be a topic; or none."""
    text = ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = node.value
    elif node is not None:
        text = constants.get(_name(node), "")
    return text if len(text) <= _MAX_TOPIC and text.isprintable() and "*" not in text else ""


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
