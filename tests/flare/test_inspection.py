"""Jobs are read strictly, without importing or running anything of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedgate.bundle import BundleTree, read_directory
from fedgate.errors import InvalidBundle, UnsupportedVersion
from fedgate_flare.adapter import FlareAdapter

JOBS = Path(__file__).parent / "jobs"
adapter = FlareAdapter()


@pytest.fixture
def files():
    return {k: bytes(v) for k, v in read_directory(JOBS / "fedavg").items()}


def inspect(files):
    return adapter.inspect(BundleTree(files))


def changed(files, path, **changes):
    data = json.loads(files[path]) | changes
    return files | {path: json.dumps({k: v for k, v in data.items() if v is not None}).encode()}


def test_a_job_is_described_for_its_reviewers(files):
    manifest = inspect(files)
    assert manifest.framework == "flare"
    assert manifest.name == "fedavg"
    assert manifest.min_sites == 2
    assert manifest.sites == ()
    assert manifest.entry_points["coordinator"].endswith("fedavg.FedAvg")
    assert "client.py" in manifest.entry_points["worker"]
    assert "1 Python files" in manifest.notes[0]


def test_a_job_inside_one_folder_is_a_job(files):
    nested = {f"outer/{path}": content for path, content in files.items()}
    assert adapter.recognises(BundleTree(nested))
    assert inspect(nested).name == "fedavg"


@pytest.mark.parametrize(
    "tree", [{}, {"pyproject.toml": b""}, {"a/meta.json": b"", "b/x": b""}, {"a/b/meta.json": b""}]
)
def test_other_bundles_are_not_recognised(tree):
    assert not adapter.recognises(BundleTree(tree))


def test_recognising_survives_any_content():
    assert adapter.recognises(BundleTree({"meta.json": b"\xff\x00 not json"}))


def test_sites_come_from_the_deploy_map(files):
    app = {p.replace("app/", "two/"): c for p, c in files.items() if p.startswith("app/")}
    files = changed(
        files | app, "meta.json",
        deploy_map={"app": ["server", "site-1"], "two": [{"sites": ["site-2"]}]},
        mandatory_clients=["site-2"],
    )  # fmt: skip
    manifest = inspect(files)
    assert manifest.sites == ("site-1", "site-2")
    assert "site-2" in manifest.notes[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"deploy_map": None}, "deploy_map"),
        ({"deploy_map": {}}, "deploy_map"),
        ({"deploy_map": {"../app": ["@ALL"]}}, "bad name of an app"),
        ({"deploy_map": {"app/x": ["@ALL"]}}, "bad name of an app"),
        ({"deploy_map": {"app": "@ALL"}}, "must be a list"),
        ({"deploy_map": {"app": ["@ALL", "site-1"]}}, "no other site"),
        ({"deploy_map": {"app": ["site-1", "site-2"]}}, "no app for the server"),
        ({"deploy_map": {"app": ["server", "site-1"]}}, "fewer sites"),
        ({"deploy_map": {"app": ["server", "a/../b"]}}, "bad name of a site"),
        ({"deploy_map": {"app": ["server", "s", "s"]}}, "more than one app"),
        ({"deploy_map": {"app": [{"sites": ["s"], "x": 1}]}}, "unknown keys"),
        ({"deploy_map": {"missing": ["@ALL"]}}, "no server configuration"),
        ({"min_clients": 0}, "min_clients"),
        ({"min_clients": True}, "min_clients"),
        ({"min_clients": "many"}, "min_clients"),
        ({"mandatory_clients": "site-1"}, "mandatory_clients"),
        ({"name": ["x"]}, "name"),
        ({"resource_spec": "gpu"}, "resource_spec"),
    ],
)
def test_a_wrong_meta_json_is_refused_with_its_own_sentence(files, changes, words):
    with pytest.raises(InvalidBundle, match=words):
        inspect(changed(files, "meta.json", **changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"\xff", "UTF-8"),
        (b'{"name": "a", "name": "b"}', "twice"),
        (b'{"min_clients": NaN}', "NaN"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "deep"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "deep"),
    ],
)
def test_a_damaged_meta_json_is_refused(files, content, words):
    with pytest.raises(InvalidBundle, match=words):
        inspect(files | {"meta.json": content})


@pytest.mark.parametrize(
    "extra",
    [
        "app/config/config_fed_server.conf",  # FLARE might load this one instead
        "app/config/config_fed_client.yml",
        "app/config/sub/config_fed_server.json",
        "meta.conf",
    ],
)
def test_a_second_configuration_that_flare_could_prefer_is_refused(files, extra):
    with pytest.raises(InvalidBundle):
        inspect(files | {extra: b"{}"})


def with_component(files, role, component):
    path = f"app/config/config_fed_{role}.json"
    return changed(files, path, components=[{"id": "c", **component}])


@pytest.mark.parametrize(
    "path",
    [
        "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor",
        "nvflare.app_opt.pt.in_process_client_api_executor.PTInProcessClientAPIExecutor",
        "nvflare.app_common.executors.client_api_launcher_executor.ClientAPILauncherExecutor",
        "nvflare.fuel.utils.pipe.file_pipe.FilePipe",
        "CellPipe",
    ],
)
def test_what_29_removed_is_named(files, path):
    with pytest.raises(UnsupportedVersion, match=path.rsplit(".", 1)[-1]):
        inspect(with_component(files, "client", {"path": path, "args": {}}))


def test_removed_classes_are_found_at_any_depth(files):
    inner = {"x": [{"path": "nvflare.fuel.utils.pipe.cell_pipe.CellPipe", "args": {}}]}
    with pytest.raises(UnsupportedVersion, match="CellPipe"):
        inspect(with_component(files, "client", {"path": "mine.Thing", "args": inner}))


def test_a_class_of_the_job_may_have_an_old_name(files):
    inspect(with_component(files, "client", {"path": "mine.FilePipe", "args": {}}))


@pytest.mark.parametrize(
    "path",
    [
        "nvflare.app_common.tie.controller.TieController",
        "nvflare.app_opt.flower.controller.FlowerController",
    ],
)
def test_workflows_that_cannot_be_governed_are_refused_at_submission(files, path):
    with pytest.raises(InvalidBundle, match="cannot run through Fedgate"):
        inspect(with_component(files, "server", {"path": path, "args": {}}))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("/opt/train.py", "outside the bundle"),
        ("{app_script}", "lacks its script"),
        ("missing.py", "lacks its script"),
        ("", "a file"),
    ],
)
def test_a_script_that_nobody_could_review_is_refused(files, script, words):
    path = "app/config/config_fed_client.json"
    config = files[path].replace(b'"client.py"', json.dumps(script).encode())
    with pytest.raises(InvalidBundle, match=words):
        inspect(files | {path: config})


@pytest.mark.parametrize("key", ["workflows", "executors"])
def test_an_app_without_anything_to_run_is_refused(files, key):
    role = "server" if key == "workflows" else "client"
    with pytest.raises(InvalidBundle, match=f"no {key}"):
        inspect(changed(files, f"app/config/config_fed_{role}.json", **{key: []}))


def test_a_recipe_exported_with_an_absolute_path_runs_the_script_in_the_bundle(files):
    path = "app/config/config_fed_client.json"
    config = files[path].replace(b'"client.py"', b'"/srv/elsewhere/client.py"')
    assert "client.py" in inspect(files | {path: config}).entry_points["worker"]


def test_names_at_the_top_of_a_configuration_fill_templates(files):
    path = "app/config/config_fed_client.json"
    config = files[path].replace(b'"client.py"', b'"{app_script}"')
    inspect(changed(files | {path: config}, path, app_script="client.py"))


@pytest.mark.parametrize("mode", [b'"attach"', b'"{mode}"'])
def test_a_job_that_waits_for_trainers_says_so(files, mode):
    path = "app/config/config_fed_client.json"
    config = files[path].replace(b'"in_process"', mode)
    manifest = inspect(changed(files | {path: config}, path, mode="attach"))
    assert manifest.attaches
    assert any("data owner starts" in note for note in manifest.notes)
    assert not inspect(files).attaches


CONVERTER = "nvflare.app_common.widgets.convert_to_fed_event.ConvertToFedEvent"


def test_metrics_that_nobody_receives_are_no_need(files):
    """Every recipe of FLARE's has this component."""
    args = {"events_to_convert": ["analytix_log_stats"]}
    manifest = inspect(with_component(files, "client", {"path": CONVERTER, "args": args}))
    assert manifest.frames == ()
    assert manifest.declared_frames() == ("aux_communication:fed.event",)  # if it is refused
    assert any("dropped unless" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("role", "component"),
    [
        ("server", {"path": "nvflare.app_opt.tracking.tb.tb_receiver.TBAnalyticsReceiver"}),
        ("server", {"path": "mine.Listener", "args": {"events": ["fed.something"]}}),
        ("client", {"path": CONVERTER, "args": {"events_to_convert": ["mine"]}}),
    ],
)
def test_events_that_somebody_waits_for_are_declared(files, role, component):
    manifest = inspect(with_component(files, role, component))
    assert manifest.frames == ("aux_communication:fed.event",)


def test_the_frames_of_swarm_learning_are_declared_by_name():
    tree = BundleTree({k: bytes(v) for k, v in read_directory(JOBS / "swarm").items()})
    frames = adapter.inspect(tree).frames
    assert "aux_communication:cwf.share_result.swarm_controller" in frames
    assert "aux_communication:cwf.end_wf.cross_site_eval" in frames
    assert {"download_service__:*", "peer_context:cwf.status_reports"} <= set(frames)


@pytest.mark.parametrize("job", ["events", "files", "metrics", "collab", "split"])
def test_other_opaque_traffic_is_declared(job):
    tree = BundleTree({k: bytes(v) for k, v in read_directory(JOBS / job).items()})
    expected = {
        "events": set(),  # sent by a component of the job's own: nobody can know
        "files": {"aux_communication:ObjectStreamer.*"},
        "split": {
            "aux_communication:_splitnn_task_train_label_step_",
            "aux_communication:_splitnn_task_valid_label_step_",
            "download_service__:*",
        },
        "metrics": {"aux_communication:fed.event"},
        "collab": {"collab:*", "download_service__:*"},
    }
    assert set(adapter.inspect(tree).frames) == expected[job]


def test_frames_that_code_names_only_as_it_runs_can_be_listed_by_its_author(files):
    frames = ["aux_communication:mine.ask", "collab:*"]
    asked = inspect(changed(files, "meta.json", fedgate={"frames": frames}))
    assert asked.frames == tuple(frames)


@pytest.mark.parametrize("frames", ["aux:x", [1], ["aux"], ["a:b\n"], ["*"], ["a:" + "x" * 300]])
def test_a_list_of_frames_that_is_none_is_refused(files, frames):
    with pytest.raises(InvalidBundle, match=r"meta\.json"):
        inspect(changed(files, "meta.json", fedgate={"frames": frames}))


@pytest.mark.parametrize("pin", ["nvflare~=2.9.0", "nvflare>=2.7", "nvflare[PT]==2.9.*"])
def test_the_version_a_job_asks_for_is_shown(files, pin):
    manifest = inspect(files | {"app/custom/requirements.txt": f"numpy\n{pin}\n".encode()})
    assert manifest.framework_version in pin


def test_another_version_of_flare_is_refused(files):
    with pytest.raises(UnsupportedVersion, match=r"nvflare~=2\.6"):
        inspect(files | {"requirements.txt": b"nvflare~=2.6.0  # old"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"launcher_spec": {"site-1": {"docker": {"image": "x"}}}}, "launched by 'docker'"),
        ({"launcher_spec": []}, "must map sites"),
        ({"resource_spec": {"site-1": {"docker": {}}}}, "container"),
        ({"resource_spec": {"site-1": {"num_of_gpus": "two"}}}, "that is no number"),
        ({"resource_spec": {"site-1": {"num_of_gpus": -1}}}, "no site can have -1"),
        ({"scope": "private"}, "privacy scope"),
        ({"edge_method": "et"}, "edge"),
    ],
)
def test_what_cannot_be_met_is_refused_with_a_sentence(files, changes, words):
    with pytest.raises(InvalidBundle, match=words):
        inspect(changed(files, "meta.json", **changes))


def test_resources_are_understood(files):
    spec = {"site-1": {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 8}}
    manifest = inspect(changed(files, "meta.json", resource_spec=spec))
    assert any("num_of_gpus=2" in note and "site-1" in note for note in manifest.notes)
    assert manifest.resources_of("site-1") == {"num_of_gpus": 2, "mem_per_gpu_in_GiB": 8}
    assert manifest.resources_of("site-2") == {}


def test_inspecting_imports_neither_nvflare_nor_the_job(tmp_path):
    trap = tmp_path / "trap"
    (trap / "app/config").mkdir(parents=True)
    (trap / "app/custom").mkdir()
    for path in (
        "meta.json",
        "app/config/config_fed_server.json",
        "app/config/config_fed_client.json",
    ):
        (trap / path).write_bytes((JOBS / "fedavg" / path).read_bytes())
    sprung = tmp_path / "sprung"
    (trap / "app/custom/client.py").write_text(f"open({str(sprung)!r}, 'w')")
    (trap / "app/custom/__init__.py").write_text(f"open({str(sprung)!r}, 'w')")
    code = (
        "import sys; from pathlib import Path; from fedgate.bundle import read_directory;"
        "from fedgate_flare.adapter import FlareAdapter; a = FlareAdapter();"
        f"t = read_directory(Path({str(trap)!r})); assert a.recognises(t); a.inspect(t);"
        "assert 'nvflare' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert not sprung.exists()
