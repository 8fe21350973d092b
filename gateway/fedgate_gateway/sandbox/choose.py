"""Finding the sandbox that a configuration names, and refusing to go on without it."""

from __future__ import annotations

from fedgate import plugins
from fedgate.errors import PluginUnavailable
from fedgate_gateway.sandbox.contract import Sandbox

GROUP = "fedgate.sandboxes"


def open_sandbox(name: str) -> Sandbox:
    """Load and probe; raises :class:`PluginUnavailable` rather than run code unconfined."""
    sandbox = plugins.load(GROUP, name)
    if not isinstance(sandbox, Sandbox):
        raise PluginUnavailable(f"the plugin {name!r} is not a sandbox")
    reason = sandbox.unavailable()
    if reason is not None:
        raise PluginUnavailable(
            f"the sandbox {name!r} cannot be used on this machine",
            why=reason,
            remedy='install it, or set runtime.sandbox = "process" to run without one',
        )
    return sandbox


def best_available() -> str:
    """For development configurations: bubblewrap where it works, else no sandbox, by its name."""
    for name in ("bubblewrap", "process"):
        if plugins.load(GROUP, name).unavailable() is None:
            return name
    return "process"
