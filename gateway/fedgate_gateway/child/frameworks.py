"""Whether the frameworks of the allowed adapters can run here, asked once when a program starts."""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata

from packaging.requirements import Requirement

from fedgate.errors import PluginUnavailable
from fedgate.plugins import load_adapter
from fedgate_gateway.child.interpreter import ask
from fedgate_gateway.config import Runtime

_ASK = """
import json
from importlib import metadata
try:
    version = metadata.version(%r)
except metadata.PackageNotFoundError:
    version = None
print(json.dumps(version))
"""


def require_frameworks(adapters: Collection[str], runtime: Runtime) -> None:
    """Raises :class:`PluginUnavailable` for a framework in a version that its adapter is not for.

    One that is not installed at all is no mistake of this program: another interpreter may have
    it, and a job that needs it is declined with its name.
    """
    for name in adapters:
        try:
            adapter = load_adapter(name, allowed=adapters)
        except PluginUnavailable:  # told to whoever submits what it is needed for
            continue
        for text in adapter.requires:
            wanted = Requirement(text)
            version = _version(wanted.name, runtime)
            if version is not None and not wanted.specifier.contains(version, prereleases=True):
                raise PluginUnavailable(
                    f"the {name} adapter needs {wanted}, and {version} is installed",
                    why="it relies on parts of the framework that are not public",
                    remedy=f"pip install 'fedgate[{name}]', or take {name} out of `adapters`",
                )


def _version(package: str, runtime: Runtime) -> str | None:
    """Of a package that children would import; None when they cannot."""
    if runtime.interpreter:
        found: str | None = ask(runtime.interpreter, _ASK % package, runtime.environment)
        return found
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
