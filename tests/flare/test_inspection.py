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


@pytest.mark.parametrize("name", ["meta.yml", "meta.conf"])
def test_formats_that_could_hide_something_are_refused(files, name):
    content = files.pop("meta.json")
    with pytest.raises(InvalidBundle, match="is not JSON"):
        inspect(files | {name: content})


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
        "nvflare.app_common.ccwf.SwarmServerController",
        "nvflare.app_common.tie.controller.TieController",
        "nvflare.app_opt.flower.controller.FlowerController",
    ],
)
def test_workflows_that_cannot_be_governed_are_refused_at_submission(files, path):
    with pytest.raises(InvalidBundle, match="cannot run through Fedgate"):
        inspect(with_component(files, "server", {"path": path, "args": {}}))


def test_an_external_trainer_is_refused_at_submission(files):
    path = "app/config/config_fed_client.json"
    config = files[path].replace(b'"in_process"', b'"external_process"')
    with pytest.raises(InvalidBundle, match="in process"):
        inspect(files | {path: config})


@pytest.mark.parametrize(
    ("script", "words"),
    [("/opt/train.py", "outside the bundle"), ("missing.py", "lacks its script"), ("", "a file")],
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


def test_known_senders_of_events_are_declared(files):
    path = "nvflare.app_common.widgets.convert_to_fed_event.ConvertToFedEvent"
    manifest = inspect(with_component(files, "client", {"path": path, "args": {}}))
    assert manifest.frames == ("aux_communication:fed.event",)


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
