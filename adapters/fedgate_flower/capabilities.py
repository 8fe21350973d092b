"""How well each of Flower's features works through Fedgate."""

from __future__ import annotations

from fedgate.adapter import Capabilities, Capability, Grade

_SINCE = "1.41"


def _full(note: str = "") -> Capability:
    return Capability(Grade.FULL, _SINCE, note)


def _partial(note: str) -> Capability:
    return Capability(Grade.PARTIAL, _SINCE, note)


def _unsupported(note: str) -> Capability:
    return Capability(Grade.UNSUPPORTED, note=note)


CAPABILITIES: Capabilities = {
    "serverapp-main": _full("@app.main() with any strategy, or a loop of one's own"),
    "serverapp-server-fn": _full("legacy server_fn; results are put into the order of dispatch"),
    "clientapp": _full("@app.train, @app.evaluate, @app.query, lifespans and mods"),
    "clientapp-client-fn": _full("legacy Client and NumPyClient"),
    "query-messages": _full(),
    "push-pull": _full("Grid.push_messages and pull_messages by hand"),
    "run-config": _full("unknown keys are errors"),
    "node-config": _full("from the site's configuration of its datasets"),
    "context-state": _full("for each site and job, also after an exception"),
    "fab": _full("the same bytes and hash as `flwr build`"),
    "artifacts": _full("files the ServerApp writes to its working directory"),
    "message-ttl": _full("a message's time to live is its task's deadline"),
    "released-model": _partial(
        "what the outermost strategy aggregated last; for an app that aggregates by itself, the "
        "model its sites were sent last"
    ),
    "client-process": _partial(
        "one process for each site and job, not for each message: module state lives on"
    ),
    "waiting-for-nodes": _partial("bounded by fedgate.node-wait-seconds instead of endless"),
    "config-bytes": _partial(
        "models sent as bytes in a ConfigRecord travel, but the egress guard cannot read them"
    ),
    "secure-aggregation": _partial("legacy workflow and mod run; shares travel as opaque bytes"),
    "series-state": _unsupported("state never crosses jobs, whatever their series"),
    "agentapp": _unsupported("agent apps are refused on submission"),
    "dependency-installation": _unsupported(
        "a site's interpreter is configured by its owner; nothing is installed for a job"
    ),
}
