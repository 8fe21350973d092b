"""Flower App Bundles: building the one that ``flwr build`` builds, and checking their contents."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from fedgate.bundle import MIB, BundleTree
from fedgate.errors import BundleTooLarge, InvalidBundle, PluginUnavailable
from fedgate_flower.version import require_supported

INFO = ".info/"
CONTENT = f"{INFO}CONTENT"
#: Flower's own limit, on the archive.
LARGEST = 10 * MIB


def build(root: Path) -> bytes:
    """The FAB of a directory, byte for byte what ``flwr build`` makes of it.

    Flower's own builder does the work, so that its ignore rules and its rewriting of
    ``pyproject.toml`` are the same. Raises :class:`InvalidBundle`.
    """
    require_supported()
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    try:
        from flwr.cli.build import build_fab_from_disk
    except ImportError as error:
        raise PluginUnavailable("flwr cannot build bundles here", why=str(error)) from error
    try:
        return build_fab_from_disk(root)
    except Exception as error:  # ValueError for the project, flwr's own for its tree
        text = str(error) or repr(error)
        if "maximum allowed size" in text:
            raise BundleTooLarge("the Flower app is too large for a FAB", why=text) from error
        raise InvalidBundle("flwr cannot build this app", why=text) from error


def check(tree: BundleTree) -> bool:
    """Check a FAB's size and its list of contents; returns whether it has such a list.

    Raises :class:`InvalidBundle` when a file is missing, changed or not listed: then what the
    list promises is not what people would review.
    """
    _check_size(tree)
    if CONTENT not in tree:
        return False
    listed = _listed(tree.text(CONTENT))
    present = {path for path in tree if not path.startswith(INFO)}
    if missing := sorted(set(listed) - present):
        raise InvalidBundle(f"the FAB lists {missing[0]!r} and does not hold it")
    if extra := sorted(present - set(listed)):
        raise InvalidBundle(f"the FAB holds {extra[0]!r} and does not list it")
    for path, (digest, bits) in listed.items():
        content = tree[path]
        if len(content) * 8 != bits or hashlib.sha256(content).hexdigest() != digest:
            raise InvalidBundle(f"the FAB's {path!r} is not what its {CONTENT} says it is")
    return True


def _listed(text: str) -> dict[str, tuple[str, int]]:
    """Lines of ``path,sha256,bits``; a path may hold commas."""
    listed: dict[str, tuple[str, int]] = {}
    for line in text.split("\n"):
        parts = line.rsplit(",", 2)
        if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit()) or len(parts[2]) > 15:
            raise InvalidBundle(f"{CONTENT} of the FAB is malformed", why=f"line {line[:100]!r}")
        if parts[0] in listed:
            raise InvalidBundle(f"{CONTENT} of the FAB lists {parts[0]!r} twice")
        listed[parts[0]] = (parts[1], int(parts[2]))
    return listed


def _check_size(tree: BundleTree) -> None:
    size = sum(map(len, tree.values()))
    if size > LARGEST:  # only then is it worth finding out what it is when compressed
        size = sum(len(zlib.compress(content, 6)) for content in tree.values())
    if size > LARGEST:
        raise BundleTooLarge(
            "the Flower app is too large",
            why=f"{size} bytes compressed, Flower's limit is {LARGEST}",
            remedy="keep data and models out of it (fab-exclude in [tool.flwr.app])",
        )
