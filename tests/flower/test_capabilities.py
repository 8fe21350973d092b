"""No row of the capability table without a test behind it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from fedgate.adapter import Grade
from fedgate_flower.capabilities import CAPABILITIES

TESTS = Path(__file__).parents[1]
APPS = TESTS / "flower" / "apps"
DP = "DifferentialPrivacy"
_BOTH = ("app:every-strategy", "app:older-strategies")
_WRAPPED = ("app:private-updates", "app:older-strategies")

#: Row -> the tests behind it: ``file:test`` below ``tests``, or ``app:NAME``, which is an app that
#: ``flower/test_apps.py`` compares with stock flwr to the bit.
BEHIND: dict[str, tuple[str, ...]] = {
    "project_directory": ("flower/test_inspect:test_a_directory_becomes_the_very_fab_that_flwr",),
    "fab": (
        "flower/test_governed:test_a_directory_and_its_fab_are_one_bundle",
        "flower_control/test_real_flwr:test_the_hash_that_is_shown_is_the_one_of_flwr_build",
    ),
    "agentapp": ("flower/test_inspect:test_a_damaged_project_is_refused_by_the_name_of_its",),
    "serverapp_main": ("app:every-strategy", "app:named-actions"),
    "push_and_pull": ("app:named-actions", "flower/test_grid:test_the_grid_may_be_used_from_many"),
    "get_nodes": ("flower/test_grid:test_nodes_are_the_online_sites_by_name",),
    "waiting_for_nodes": ("flower/test_end_to_end:test_waiting_for_more_nodes_than_there_are",),
    "server_fn": ("app:legacy-strategy", "flower/test_bookkeeping:test_legacy_results_reach"),
    "custom_strategies": ("app:legacy-strategy",),
    "workflows": ("app:secure-sum", "app:older-strategies"),
    "secagg+": ("app:secure-sum",),
    "lifespans": ("app:lifespans",),
    **dict.fromkeys(
        ("FedAvg", "FedProx", "FedAvgM", "FedAdam", "FedAdagrad", "FedYogi", "FedMedian",
         "FedTrimmedAvg", "Krum", "Bulyan"),
        _BOTH,
    ),
    "MultiKrum": ("app:every-strategy",),
    "QFedAvg": ("app:every-strategy",),
    "FaultTolerantFedAvg": ("app:older-strategies",),
    "FedXgbBagging": ("app:boosting",),
    "FedXgbCyclic": ("app:boosting",),
    f"{DP}ServerSideFixedClipping": _WRAPPED,
    f"{DP}ServerSideAdaptiveClipping": _WRAPPED,
    f"{DP}ClientSideFixedClipping": _WRAPPED,
    f"{DP}ClientSideAdaptiveClipping": _WRAPPED,
    "released_model": (
        "flower/test_bookkeeping:test_without_a_strategy_the_model_that_was_sent_last_is_offered",
        "flower/test_end_to_end:test_differential_privacys_noisy_model_is_released",
    ),
    "train_evaluate_query": ("app:named-actions",),
    "numpy_client": ("app:legacy-strategy",),
    "client": ("app:legacy-strategy",),
    "clipping_mods": ("app:private-updates", "app:older-strategies"),
    "local_dp_mod": ("app:local-privacy",),
    "size_mods": ("app:local-privacy",),
    "custom_mods": ("app:local-privacy", "app:private-updates"),
    "context_state": (
        "app:remembering",
        "flower/test_bookkeeping:test_state_survives_and_is_replaced_as_a_whole",
    ),
    "context_state_in_a_series": (
        "flower/test_governed:test_a_directory_and_its_fab_are_one_bundle",
        "site/test_series:test_the_next_job_finds_what_the_last_one_left",
    ),
    "node_config": ("app:settings",),
    "run_config": ("app:settings", "flower/test_end_to_end:test_an_override_that_the_app_does_not"),
    "error_replies": (
        "app:named-actions",
        "flower/test_messages:test_the_text_of_an_exception_reaches_the_enclave",
    ),
    "message_ttl": (
        "flower/test_grid:test_replies_that_are_pulled_too_late_are_errors_as_in_flower",
        "flower/test_grid:test_a_reply_later_than_the_timeout_is_left_out_as_in_flower",
    ),
    "client_process": ("app:lifespans",),
    "arrays": ("app:every-payload", "flower/test_lifting:test_every_array_comes_back_bit_by_bit"),
    "scalars_and_0-d_arrays": ("app:every-payload",),
    "zero-size_arrays": ("app:every-payload",),
    "bf16_and_fp8": ("app:every-payload",),
    "uint8_models": ("app:boosting",),
    "config_bytes": ("app:opaque-model",),
    "metric_lists": ("app:histograms", "app:every-payload"),
    "messages_over_2_gib": ("flower/test_two_gigabytes:test_",),
    "flower_version": (
        "flower/test_governed:test_an_app_for_another_flower_is_refused_when_it_is_submitted",
        "flower/test_inspect:test_these_releases_of_flower_pass_and_others_are_refused",
    ),
    "project_dependencies": (
        "flower/test_governed:test_a_reviewer_sees_what_an_app_runs_and_depends_on",
    ),
    "prepared_interpreters": (
        "site/test_dependencies:test_the_first_prepared_interpreter_that_has_everything_is_taken",
    ),
    "installation_at_run_time": (
        "site/test_dependencies:test_a_site_declines_with_the_names_of_what_it_lacks",
    ),
    "artifacts": ("flower/test_governed:test_a_directory_and_its_fab_are_one_bundle",),
    "serverapp_log": ("flower/test_endings:test_an_app_that_prints_a_gigabyte",),
    "clientapp_logs": ("flower/test_governed:test_a_directory_and_its_fab_are_one_bundle",),
    "flwr_run": ("flower_control/test_real_flwr:test_a_run_is_streamed_from_review_to_release",),
    "flwr_ls": ("flower_control/test_real_flwr:test_runs_are_listed_for_people_and_for_programs",),
    "flwr_log": ("flower_control/test_real_flwr:test_a_log_can_be_read_again",),
    "flwr_stop": ("flower_control/test_real_flwr:test_a_run_is_stopped",),
    "flwr_pull": ("flower_control/test_real_flwr:test_what_was_released_is_pulled",),
    "flwr_login": ("flower_control/test_real_flwr:test_flwr_login_by_the_browser",),
    "flwr_federation_supernode_app_chat": (
        "flower_control/test_real_flwr:test_what_cannot_be_is_answered_with_a_sentence",
        "flower_control/test_hostile_requests:test_every_call_of_flower_has_an_answer_of_its_own",
    ),
}  # fmt: skip


def compared() -> set[str]:
    """The apps that ``test_apps.py`` runs; read, because the file is no module to import."""
    tree = ast.parse((TESTS / "flower" / "test_apps.py").read_text())
    (runs,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RUNS"
    ]
    assert isinstance(runs, ast.Dict)
    return {key.value for key in runs.keys if isinstance(key, ast.Constant)}


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    assert set(CAPABILITIES) == set(BEHIND)


def test_what_does_not_work_as_in_flower_says_how() -> None:
    for row, capability in CAPABILITIES.items():
        assert capability.grade is Grade.FULL or capability.note, row
        assert capability.grade is Grade.UNSUPPORTED or capability.since, row


@pytest.mark.parametrize("row", BEHIND)
def test_the_tests_behind_a_row_exist(row: str) -> None:
    for name in BEHIND[row]:
        file, test = name.split(":")
        if file == "app":
            assert test in compared()
        else:
            text = (TESTS / f"{file}.py").read_text()
            assert re.search(rf"^def {re.escape(test)}", text, re.MULTILINE), name


@pytest.mark.parametrize("row", [row for row in BEHIND if row[0].isupper()])
def test_a_strategy_is_used_by_the_apps_behind_it(row: str) -> None:
    for name in BEHIND[row]:
        app = APPS / name.removeprefix("app:")
        text = "".join(path.read_text() for path in app.rglob("server_app.py"))
        assert re.search(rf"\b{row}\b", text), (row, name)


def test_every_strategy_of_flower_has_a_row() -> None:
    """Except those that are for other things than Flower apps, or gone into wrappers."""
    from flwr.serverapp import strategy

    assert {*strategy.__all__} - {"Result", "Strategy"} <= set(CAPABILITIES)
