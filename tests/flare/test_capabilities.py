"""No row of the capability table without a test behind it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedgate.adapter import Grade
from fedgate_flare.capabilities import CAPABILITIES

HERE = Path(__file__).parent
#: Row -> the file and the test that stand behind it.
BEHIND = {
    "json_yaml_and_hocon": "test_jobs:test_different_apps_for_different_sites_in_yaml_hocon_and_js",
    "exported_recipes": "test_inspection:test_a_recipe_exported_with_an_absolute_path",
    "recipe_execute": "../flare_door/test_recipe:test_a_script_that_prints_the_status",
    "flare_api_and_nvflare_job": "../flare_door/test_real_nvflare:test_the_command_submits",
    "job_folders_and_zips": "test_inspection:test_a_job_inside_one_folder_is_a_job",
    "deploy_map": "test_jobs:test_different_apps_for_different_sites",
    "minimum_and_mandatory_sites": "test_failures:test_a_job_never_finishes_below_its_minimum",
    "resource_and_launcher_specs": "test_inspection:test_what_cannot_be_met_is_refused",
    "flare_versions": "test_inspection:test_another_version_of_flare_is_refused",
    "scatter_and_gather": "test_parity:test_scatter_and_gather_then_cyclic",
    "fedavg_and_model_controllers": "test_parity:test_fedavg_with_a_client_api_script",
    "cyclic": "test_parity:test_scatter_and_gather_then_cyclic",
    "cross_site_evaluation": "test_parity:test_scatter_and_gather_then_cyclic",
    "global_model_evaluation": "test_jobs:test_global_model_evaluation_and_a_broadcast_operator",
    "statistics": "test_jobs:test_statistics_of_all_sites_together",
    "broadcast_operators": "test_jobs:test_global_model_evaluation_and_a_broadcast_operator",
    "swarm_learning": "test_jobs:test_swarm_learning_and_cross_site_evaluation",
    "client_side_cyclic": "test_jobs:test_a_relay_from_site_to_site",
    "client_side_cross_site_evaluation": "test_jobs:test_swarm_learning_and_cross_site_evaluation",
    "collab": "test_jobs:test_collab_functions_are_called",
    "split_learning": "test_jobs:test_split_learning_between_the_sites",
    "hierarchical_and_edge": "test_inspection:test_what_cannot_be_met_is_refused",
    "xgboost_flower_and_tie": "test_inspection:test_workflows_that_cannot_be_governed",
    "executors": "test_parity:test_scatter_and_gather_then_cyclic",
    "model_learner": "test_jobs:test_a_model_learner_between_filters",
    "client_api_in_process": "test_parity:test_fedavg_with_a_client_api_script",
    "client_api_external_process": "test_jobs:test_a_trainer_in_a_process_of_its_own",
    "client_api_attached": "test_jobs:test_a_trainer_that_attaches_from_outside",
    "filters": "test_jobs:test_a_model_learner_between_filters",
    "numpy_arrays": "test_codec:test_",
    "torch_tensors": "test_jobs:test_torch_tensors_cross_as_they_are",
    "large_tensors": "test_memory:test_the_coordinators_memory",
    "federated_events": "test_frames:test_an_allowed_event_arrives",
    "analytics_streaming": "test_jobs:test_metrics_stream_to_a_receiver",
    "file_and_object_streaming": "test_jobs:test_files_and_logs_stream_to_the_server",
    "log_streaming": "test_jobs:test_files_and_logs_stream_to_the_server",
    "tensor_disk_offload": "test_jobs:test_torch_tensors_cross_as_they_are",
    "download_by_reference": "test_jobs:test_swarm_learning_and_cross_site_evaluation",
    "opaque_frames": "test_federation:test_a_job_that_needs_more_is_refused_at_submission",
    "housekeeping": "test_jobs:test_a_trainer_in_a_process_of_its_own",
    "lost_sites": "test_failures:test_a_job_goes_on_without_a_dead_site_in_every_later_workflow",
    "job_and_task_timeouts": "test_federation:test_a_job_that_goes_wrong_fails_with_what_and_why",
    "abort": "test_failures:test_a_job_that_is_stopped_takes_its_trainers_along",
    "scratch_space": "test_federation:test_nothing_that_a_running_job_writes_or_prints_is_on",
    "peer_context": "test_parts:test_a_sites_context_leaves_with_allowed_properties_only",
    "job_signatures": "test_protections:test_a_job_that_was_altered_after_it_was_signed",
    "class_allow_list": "test_protections:test_a_class_that_is_not_on_the_list",
    "byoc_control": "test_protections:test_code_of_the_jobs_own_can_be_refused",
    "privacy_scopes": "test_inspection:test_what_cannot_be_met_is_refused",
}
#: Said to be untested, or nothing that could be tried.
UNTESTED = {"snapshots"}


def test_every_row_is_tested_or_says_that_it_is_not():
    assert set(CAPABILITIES) == set(BEHIND) | UNTESTED
    assert all(CAPABILITIES[row].grade is not Grade.FULL for row in UNTESTED)


@pytest.mark.parametrize("row", sorted(BEHIND))
def test_the_test_behind_a_row_exists(row):
    file, name = BEHIND[row].split(":")
    assert re.search(rf"^def {re.escape(name)}", (HERE / f"{file}.py").read_text(), re.MULTILINE)
