"""How well each of Flower's features works through Fedgate; a test stands behind each row.

``tests/flower/test_capabilities.py`` names the tests and fails when a row has none.
"""

from __future__ import annotations

from fedgate.adapter import Capabilities, Capability, Grade

_SINCE = "1.41"


def _full(note: str = "") -> Capability:
    return Capability(Grade.FULL, _SINCE, note)


def _partial(note: str) -> Capability:
    return Capability(Grade.PARTIAL, _SINCE, note)


def _unsupported(note: str) -> Capability:
    return Capability(Grade.UNSUPPORTED, note=note)


_AVERAGED = "of flwr.serverapp and of flwr.server, each to the last bit"

CAPABILITIES: Capabilities = {
    # inputs
    "project_directory": _full("becomes the very FAB that `flwr build` makes"),
    "fab": _full("by `fedgate job submit`, REST or `flwr run`; the digest shown is Flower's own"),
    "agentapp": _unsupported("refused on submission"),
    # server styles
    "serverapp_main": _full("@app.main() with any strategy, or a loop of one's own"),
    "push_and_pull": _full("Grid.push_messages and pull_messages by hand, several threads"),
    "get_nodes": _full("the job's sites that are online, by name, in the order of the roster"),
    "waiting_for_nodes": _partial("bounded by fedgate.node-wait-seconds instead of endless"),
    "server_fn": _full("older style; results reach the strategy in the order of dispatch"),
    "custom_strategies": _full(),
    "workflows": _full("DefaultWorkflow, also with strategies of the older style"),
    "secagg+": _partial("runs; shares travel as opaque bytes, which no egress guard can read"),
    "lifespans": _full("of both sides"),
    "FedAvg": _full(_AVERAGED),
    "FedProx": _full(_AVERAGED),
    "FedAvgM": _full(_AVERAGED),
    "FedAdam": _full(_AVERAGED),
    "FedAdagrad": _full(_AVERAGED),
    "FedYogi": _full(_AVERAGED),
    "FedMedian": _full(_AVERAGED),
    "FedTrimmedAvg": _full(_AVERAGED),
    "Krum": _full(_AVERAGED),
    "MultiKrum": _full(),
    "Bulyan": _full(_AVERAGED),
    "QFedAvg": _full(),
    "FaultTolerantFedAvg": _full("of the older style"),
    "FedXgbBagging": _full(),
    "FedXgbCyclic": _full(),
    "DifferentialPrivacyServerSideFixedClipping": _full(_AVERAGED),
    "DifferentialPrivacyServerSideAdaptiveClipping": _full(_AVERAGED),
    "DifferentialPrivacyClientSideFixedClipping": _full(_AVERAGED),
    "DifferentialPrivacyClientSideAdaptiveClipping": _full(_AVERAGED),
    "released_model": _partial(
        "what the outermost strategy aggregated last; for an app that aggregates by itself, the "
        "model its sites were sent last"
    ),
    # client styles
    "train_evaluate_query": _full("@app.train, @app.evaluate, @app.query, with named actions"),
    "numpy_client": _full("through client_fn"),
    "client": _full("through client_fn"),
    "clipping_mods": _full("fixed and adaptive"),
    "local_dp_mod": _full(),
    "size_mods": _full("of arrays and messages"),
    "custom_mods": _full("of an app, and of one of its functions"),
    "context_state": _full("across rounds, also after an exception, and after a restart"),
    "context_state_in_a_series": _partial(
        "of ClientApps, with fedgate.series: it stays at its site. A ServerApp begins anew: "
        "nothing of a job outlives it in the enclave"
    ),
    "node_config": _full("from the site's configuration of its datasets"),
    "run_config": _full("with the submitter's overrides; unknown keys are errors"),
    "error_replies": _full("Flower's own codes; an exception's text stays inside the enclave"),
    "message_ttl": _full("and the timeout of send_and_receive"),
    "client_process": _partial(
        "one process for each site and job, not for each message: module state lives on"
    ),
    # payloads
    "arrays": _full("of any dtype and layout, structured ones too"),
    "scalars_and_0-d_arrays": _full(),
    "zero-size_arrays": _full(),
    "bf16_and_fp8": _full(),
    "uint8_models": _full("as of XGBoost"),
    "config_bytes": _partial(
        "models sent as bytes in a ConfigRecord, as of CatBoost, travel, but no egress guard can "
        "read them: body_bytes of its rules for each kind of result bounds them"
    ),
    "metric_lists": _full("bounded by body_bytes in a site's guard"),
    "messages_over_2_gib": _full(),
    # dependencies
    "flower_version": _full("what an app asks for is checked on submission"),
    "project_dependencies": _full("shown at review; a site that lacks one declines, by its name"),
    "prepared_interpreters": _full("a site's own; the first that has everything runs the app"),
    "installation_at_run_time": _unsupported("nothing is ever installed for a job"),
    # what leaves
    "artifacts": _full("files of the ServerApp's working directory, through the release gate"),
    "serverapp_log": _full("through the release gate"),
    "clientapp_logs": _full("stay at their site: `fedgate site logs`"),
    # the flwr command
    "flwr_run": _full("with --stream, --run-config and overrides, --federation"),
    "flwr_ls": _full("with and without --run-id, --format json"),
    "flwr_log": _full("reviews, rounds and the release; what the ServerApp printed where logs "
                      "are released in clear"),
    "flwr_stop": _full(),
    "flwr_pull": _full("sealed outputs as they are; `fedgate job result` opens them"),
    "flwr_login": _full("the device flow, against the gateway's own login"),
    "flwr_federation_supernode_app_chat": _unsupported("each answers where to go instead"),
}  # fmt: skip
