"""The opaque traffic that a job cannot do without, told from its configuration.

A site whose guard does not list these frames refuses the job beforehand, with their names. What a
job merely uses if it may is not listed: federated events without a receiver, for example.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from fedgate_flare.app_configs import AppConfig

AUX = "aux_communication"
FED_EVENTS = f"{AUX}:fed.event"
STREAMS = f"{AUX}:ObjectStreamer.*"
DOWNLOADS = "download_service__:*"
STATUS = "peer_context:cwf.status_reports"
_PEERS = f"{AUX}:__do_task__"
_CCWF = "nvflare.app_common.ccwf."
_SENDERS = ("ConvertToFedEvent", "AnalyticsSender", "TBWriter", "MLflowWriter", "WandBWriter")
_METRICS = {"analytix_log_stats"}
#: They ask for what they want under their own name, or the topic that they are given.
RETRIEVERS = frozenset({"ContainerRetriever", "FileRetriever", "ObjectRetriever"})
_STREAMERS = ("JobLogStreamer", "SiteLogStreamer", "FileStreamer", "ContainerStreamer")


def frames_of(configs: Iterable[AppConfig]) -> tuple[str, ...]:
    """``channel:topic`` of every frame that is known to be needed; ``*`` ends a family of them."""
    found: set[str] = set()
    for each in configs:
        if each.role == "server":
            for workflow in _list(each.config, "workflows"):
                found |= _of_workflow(workflow)
        names = {path.rsplit(".", 1)[-1] for path, _ in each.components()}
        if _needs_events(each, names):
            found.add(FED_EVENTS)
        if names.intersection(_STREAMERS):
            found.add(STREAMS)
        for path, args in each.components():
            if (name := path.rsplit(".", 1)[-1]) in RETRIEVERS:
                found |= {STREAMS, f"{AUX}:{str(args.get('topic') or name)[:100]}"}
        if any(".collab." in path for path, _ in each.components()):
            found |= {"collab:*", DOWNLOADS}
    return tuple(sorted(found))


def _needs_events(found: AppConfig, names: set[str]) -> bool:
    """A receiver at the server, or events that are not just the metrics every recipe converts."""
    if found.role == "server":
        return any(name.endswith(("AnalyticsReceiver", "MLflowReceiver", "WandBReceiver"))
                   for name in names) or _mentions(found.config, "fed.")  # fmt: skip
    converted = [
        args.get("events_to_convert")
        for path, args in found.components()
        if path.endswith("ConvertToFedEvent")
    ]
    return any(isinstance(e, list) and set(map(str, e)) - _METRICS for e in converted)


def _mentions(config: Any, start: str) -> bool:
    """Does a text in the configuration name a federated event?"""
    if isinstance(config, Mapping):
        return any(_mentions(inner, start) for inner in config.values())
    if isinstance(config, list):
        return any(_mentions(inner, start) for inner in config)
    return isinstance(config, str) and config.startswith(start)


def sends_events(configs: Iterable[AppConfig]) -> list[str]:
    """Components that turn local events into federated ones."""
    names = {path.rsplit(".", 1)[-1] for each in configs for path, _ in each.components()}
    return sorted(names.intersection(_SENDERS))


def spare_frames(configs: Iterable[AppConfig], needed: Collection[str]) -> tuple[str, ...]:
    """Of those that a job sends if it may: most recipes' events have no receiver."""
    found = list(configs)
    return (FED_EVENTS,) if sends_events(found) and FED_EVENTS not in needed else ()


def _of_workflow(workflow: Mapping[str, Any]) -> set[str]:
    path = workflow.get("path") or workflow.get("class_path") or ""
    if not isinstance(path, str):
        return set()
    if path.endswith(".SplitNNController"):
        return {f"{AUX}:_splitnn_task_{step}_label_step_" for step in ("train", "valid")} | {
            DOWNLOADS
        }
    if not path.startswith(_CCWF):
        return set()
    name = str(workflow.get("id", ""))[:100]
    found = {_PEERS, STATUS, DOWNLOADS, f"{AUX}:cwf.end_wf.{name}"}
    if path.endswith("SwarmServerController"):
        args = workflow.get("args")
        prefix = args.get("task_name_prefix", "swarm") if isinstance(args, dict) else "swarm"
        found |= {
            f"{AUX}:cwf.share_result.{name}",
            f"{AUX}:{str(prefix)[:100]}_req_to_submit_learn_result",
        }
    return found


def _list(config: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = config.get(key)
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
