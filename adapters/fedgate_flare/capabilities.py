"""How well each feature of FLARE works through Fedgate; ``tests/flare`` stands behind each row.

``tests/flare/test_capabilities.py`` names the tests and fails when a row has none.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedgate.adapter import Capability, Grade

_FULL, _PARTIAL, _NONE = Grade.FULL, Grade.PARTIAL, Grade.UNSUPPORTED
_FRAMES = "where every site's guard lists the frames; else refused beforehand with their names"

CAPABILITIES: Mapping[str, Capability] = {
    # inputs
    "json_yaml_and_hocon": Capability(
        _FULL, "2.9", "read without code, includes, environment or interpolation"
    ),
    "exported_recipes": Capability(_FULL, "2.9"),
    "recipe_execute": Capability(_FULL, "2.9", "from fedgate_flare import FedgateEnv"),
    "flare_api_and_nvflare_job": Capability(
        _FULL, "2.9", "by a front door; a job's log level is not changed while it runs"
    ),
    "job_folders_and_zips": Capability(_FULL, "2.9"),
    "deploy_map": Capability(_FULL, "2.9", "different apps for different sites"),
    "minimum_and_mandatory_sites": Capability(_FULL, "2.9", "enforced before anything else"),
    "resource_and_launcher_specs": Capability(
        _PARTIAL,
        "2.9",
        "amounts are matched with what each site declares; containers and launchers are refused",
    ),
    "flare_versions": Capability(_FULL, "2.9", "shown and checked; removed classes are named"),
    # workflows
    "scatter_and_gather": Capability(_FULL, "2.9"),
    "fedavg_and_model_controllers": Capability(
        _FULL, "2.9", "results are added in the order of the roster"
    ),
    "cyclic": Capability(_FULL, "2.9"),
    "cross_site_evaluation": Capability(_FULL, "2.9", "as a workflow of the server"),
    "global_model_evaluation": Capability(_FULL, "2.9"),
    "statistics": Capability(_FULL, "2.9"),
    "broadcast_operators": Capability(_FULL, "2.9"),
    "swarm_learning": Capability(_FULL, "2.9", _FRAMES),
    "client_side_cyclic": Capability(_FULL, "2.9", _FRAMES),
    "client_side_cross_site_evaluation": Capability(_FULL, "2.9", _FRAMES),
    "collab": Capability(_FULL, "2.9", _FRAMES),
    "split_learning": Capability(_FULL, "2.9", _FRAMES),
    "hierarchical_and_edge": Capability(_NONE, note="a project's sites have no sites below them"),
    "xgboost_flower_and_tie": Capability(_NONE, note="their own network protocols; refused"),
    # clients
    "executors": Capability(_FULL, "2.9"),
    "model_learner": Capability(_FULL, "2.9"),
    "client_api_in_process": Capability(_FULL, "2.9"),
    "client_api_external_process": Capability(
        _FULL, "2.9", "over the sandbox's own loopback; no opaque byte leaves the site"
    ),
    "client_api_attached": Capability(
        _PARTIAL, "2.9", "by files in a folder that a site's owner names; not over a network"
    ),
    "filters": Capability(_FULL, "2.9", "of the job, on both sides"),
    # traffic
    "numpy_arrays": Capability(_FULL, "2.9", "object, structured and masked arrays are refused"),
    "torch_tensors": Capability(_FULL, "2.9", "dense ones, of every dtype with a faithful form"),
    "large_tensors": Capability(_FULL, "2.9", "as a model of their own beside the message"),
    "federated_events": Capability(_FULL, "2.9", _FRAMES),
    "analytics_streaming": Capability(_FULL, "2.9", _FRAMES),
    "file_and_object_streaming": Capability(_FULL, "2.9", _FRAMES),
    "log_streaming": Capability(_FULL, "2.9", _FRAMES),
    "download_by_reference": Capability(_FULL, "2.9", _FRAMES),
    "tensor_disk_offload": Capability(
        _FULL, "2.9", "into the job's scratch; the server's tensors travel beside its messages"
    ),
    "peer_context": Capability(
        _PARTIAL, "2.9", "of public properties only identity, round and workflow status travel"
    ),
    "opaque_frames": Capability(
        _FULL, "2.9", "counted, capped, refused unless listed; a flood ends the job in words"
    ),
    "housekeeping": Capability(_FULL, "2.9", "answered at once; no opaque byte leaves a site"),
    # endings
    "lost_sites": Capability(_FULL, "2.9", "told to every workflow at once, with the reason"),
    "job_and_task_timeouts": Capability(_FULL, "2.9"),
    "abort": Capability(_FULL, "2.9", "ends every process, trainers of the job's included"),
    # protections
    "scratch_space": Capability(
        _FULL, "2.9", "of the coordinator: in memory, of this job alone; in bubblewrap"
    ),
    "job_signatures": Capability(_PARTIAL, "2.9", "unaltered since signed; issuers are not known"),
    "class_allow_list": Capability(_FULL, "2.9", "as a rule of a site's policy: components"),
    "byoc_control": Capability(_FULL, "2.9", "as a rule of a site's policy: brings_code"),
    "privacy_scopes": Capability(_NONE, note="refused: each site's guard holds for every job"),
    "snapshots": Capability(_NONE, note="a job starts over when its enclave dies"),
}
