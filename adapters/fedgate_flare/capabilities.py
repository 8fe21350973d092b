"""How well each feature of FLARE works through Fedgate; ``tests/flare`` stands behind it."""

from __future__ import annotations

from collections.abc import Mapping

from fedgate.adapter import Capability, Grade

_FULL, _PARTIAL, _NONE = Grade.FULL, Grade.PARTIAL, Grade.UNSUPPORTED

CAPABILITIES: Mapping[str, Capability] = {
    "scatter_and_gather": Capability(_FULL, "2.9"),
    "fedavg": Capability(_FULL, "2.9", "results are added in the order of the roster"),
    "cyclic": Capability(_FULL, "2.9"),
    "cross_site_evaluation": Capability(_FULL, "2.9", "as a workflow of the server"),
    "other_server_workflows": Capability(
        _PARTIAL, "2.9", "run by the same runner, not each tested"
    ),
    "executors": Capability(_FULL, "2.9"),
    "client_api_in_process": Capability(_FULL, "2.9"),
    "client_api_external_process": Capability(_NONE, note="refused at submission"),
    "client_controlled_workflows": Capability(_NONE, note="swarm and its kind; refused"),
    "numpy_arrays": Capability(_FULL, "2.9", "object, structured and masked arrays are refused"),
    "torch_tensors": Capability(_NONE, note="refused with a sentence; exchange numpy arrays"),
    "filters": Capability(_FULL, "2.9", "the job's own; a site's privacy scopes are not loaded"),
    "federated_events": Capability(
        _PARTIAL, "2.9", "between sites and server, where every guard allows the frame"
    ),
    "auxiliary_messages": Capability(
        _PARTIAL, "2.9", "between sites and server, where every guard allows the frame"
    ),
    "object_streaming": Capability(_NONE, note="files and logs are not streamed"),
    "peer_context": Capability(
        _PARTIAL,
        "2.9",
        "of a site's public properties only its identity and round reach the server",
    ),
    "snapshots": Capability(_NONE, note="a job starts over when its enclave dies"),
    "json_configuration": Capability(_FULL, "2.9"),
    "yaml_and_hocon_configuration": Capability(_NONE, note="refused at submission"),
}
