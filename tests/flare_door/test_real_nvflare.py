"""The installed `nvflare` and FLARE's API, unmodified, against a real door and federation."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from nvflare.fuel.flare_api.api_spec import (
    AuthorizationError,
    InternalError,
    InvalidJobDefinition,
    JobNotFound,
    JobNotRunning,
    MonitorReturnCode,
    NoConnection,
)
from nvflare.fuel.flare_api.flare_api import Session

from fedgate import Model
from fedgate.bundle import BundleLimits, digest_of, pack_directory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
JOBS = Path(__file__).parents[1] / "flare" / "jobs"
JOB = JOBS / "fedavg"
BIN = Path(sys.executable).parent
ADA, BOB = "ada@example.org", "bob@example.org"
SECONDS = 120


def names(session: Session) -> list[str]:
    return [job["job_id"] for job in session.list_jobs()]


@pytest.fixture(scope="module")
def finished(ada: Session, jobs: dict[str, Path]) -> str:
    """A job that went well."""
    job = ada.submit_job(str(jobs["quick"]))
    code = ada.monitor_job(job, timeout=SECONDS, poll_interval=0.1)
    assert code == MonitorReturnCode.JOB_FINISHED
    return job


# -- the FLARE API -------------------------------------------------------------------------------


def test_a_job_takes_the_same_path_as_any_other(door, ada, finished):
    meta = ada.get_job_meta(finished)
    assert meta["status"] == "FINISHED:COMPLETED", meta
    assert meta["job_deploy_detail"][0] == "gateway: succeeded"
    assert meta["fedgate"]["sites"].keys() == {"site-1", "site-2"}
    job = door.gateway_job(meta)
    assert (job["state"], job["framework"], job["project"]) == ("succeeded", "flare", "demo")
    entries = door.federation.client.audit_entries(job=job["id"], limit=500)["entries"]
    kinds = {entry["kind"] for entry in entries}
    assert {"job.submitted", "job.site-decision", "session.opened"} <= kinds, kinds
    (submitted,) = [entry["data"] for entry in entries if entry["kind"] == "job.submitted"]
    assert submitted["name"] == f"fedavg (FLARE: {ADA})"
    outputs = door.federation.client.outputs(job["id"])
    assert outputs
    assert all(output["sealed"] for output in outputs)


def test_what_people_approve_is_the_digest_of_the_folder(door, ada, finished):
    assert door.gateway_job(ada.get_job_meta(finished))["bundle"] == digest_of(pack_directory(JOB))


def test_the_result_is_downloaded_opened(ada, finished, tmp_path):
    folder = Path(ada.download_job_result(finished, str(tmp_path)))
    released = Model.parse((folder / "workspace/model.safetensors").read_bytes()).numpy()
    written = np.load(folder / "workspace/models/server.npy")
    assert released["numpy_key"].tobytes() == written.tobytes()
    assert json.loads((folder / "meta.json").read_text())["status"] == "FINISHED:COMPLETED"


def test_jobs_are_listed_and_one_has_a_log(ada, finished):
    assert finished in names(ada)
    log = ada.get_job_logs(finished, "server")["logs"]["server"]
    assert "round 3 train: 2 of 2 sites" in log
    assert "Server runner starting" in log, "what the coordinator printed"
    told = ada.get_job_logs(finished, "site-1")
    assert "stays with its owner" in told["unavailable"]["site-1"]


def test_a_job_that_has_ended_is_not_said_to_be_aborted(door, ada, nvflare, finished):
    with pytest.raises(JobNotRunning):
        ada.abort_job(finished)
    told = nvflare("job", "abort", finished, "--force", code=1)
    assert told["error_code"] == "JOB_NOT_RUNNING", told
    cancel = subprocess.run(
        [BIN / "fedgate", "job", "cancel", door.gateway_job(ada.get_job_meta(finished))["id"],
         "--profile", door.federation.profile_path],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert cancel.returncode != 0
    assert "has ended already: succeeded" in cancel.stderr
    assert "`fedgate job show" in cancel.stderr


def test_a_recipe_for_a_production_system_of_flares_runs_as_it_is(door, ada):
    from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
    from nvflare.recipe import ProdEnv

    script = JOBS.parent / "scripts" / "add_one.py"
    recipe = NumpyFedAvgRecipe(
        name="plus", min_clients=2, num_rounds=3, model=[[1.0, 2.0]], train_script=str(script)
    )
    run = recipe.execute(ProdEnv(startup_kit_location=str(door.kits / ADA), username=ADA))
    assert run.get_job_id() in names(ada)
    with suppress(JobNotRunning):
        ada.abort_job(run.get_job_id())


def test_a_submission_that_is_repeated_with_its_token_is_the_same_job(ada, jobs):
    first = ada.submit_job(str(jobs["quick"]), submit_token="once-and-for-all")
    assert ada.submit_job(str(jobs["quick"]), submit_token="once-and-for-all") == first
    with suppress(JobNotRunning):
        ada.abort_job(first)


def test_a_result_of_another_bundle_than_was_submitted_is_no_result(door, ada, jobs, tmp_path):
    job = ada.submit_job(str(jobs["quick"]))
    meta = ada.get_job_meta(job)
    remembered = door.federation.dir / "submitted" / f"{meta['fedgate']['job']}.json"
    door.wait(remembered.exists, "the submission to be remembered")
    told = json.loads(remembered.read_text())
    remembered.write_text(json.dumps({**told, "bundle": "sha256:" + "0" * 64}))
    ada.monitor_job(job, timeout=SECONDS, poll_interval=0.1)
    meta = ada.get_job_meta(job)
    assert meta["status"] == "FINISHED:ABNORMAL"
    assert "is not the job that was submitted" in meta["job_deploy_detail"][0]
    folder = Path(ada.download_job_result(job, str(tmp_path)))
    assert not (folder / "workspace").exists()


def test_a_no_of_the_gateway_is_the_answer_to_the_submission(ada, jobs):
    with pytest.raises(AuthorizationError, match="A job needs at least two sites"):
        ada.submit_job(str(jobs["lonely"]))


def test_a_site_that_no_project_has_is_told_at_the_submission(ada, jobs):
    with pytest.raises(InvalidJobDefinition, match="names site 'site-9'") as told:
        ada.submit_job(str(jobs["elsewhere"]))
    assert "--sites" not in str(told.value)


def test_what_is_wrong_with_a_job_is_the_answer_to_its_submission(ada, jobs):
    before = names(ada)
    with pytest.raises(InvalidJobDefinition, match="defines no executors"):
        ada.submit_job(str(jobs["broken"]))
    assert names(ada) == before


# -- the nvflare command -------------------------------------------------------------------------


def test_the_command_submits_watches_and_aborts(door, ada, nvflare, jobs):
    job = nvflare("job", "submit", "-j", jobs["endless"])["data"]["job_id"]
    door.wait_until_running(ada, job)
    door.wait(
        lambda: "round 2 train" in ada.get_job_logs(job, "server")["logs"]["server"], "rounds"
    )
    listed, meta, stats, logs, status = nvflare.together(
        "job list", f"job meta {job}", f"job stats {job} --site server", f"job logs {job}",
        "system status",
    )  # fmt: skip
    assert job in json.dumps(listed["data"])
    assert meta["data"]["status"] == "RUNNING"
    assert stats["data"]["stats"]["server"]["fedgate"]["round"] > 1
    assert "site site-1 accepted" in json.dumps(logs["data"])
    assert "site-1" in json.dumps(status["data"]["clients"])
    nvflare("job", "abort", job, "--force")
    assert ada.get_job_meta(job)["status"] == "FINISHED:ABORTED"
    assert door.gateway_job(ada.get_job_meta(job))["state"] == "cancelled"


def test_the_command_waits_fetches_and_repeats(ada, nvflare, finished, tmp_path):
    waited, downloaded, cloned = nvflare.together(
        f"job wait {finished}", f"job download {finished} -o {tmp_path}", f"job clone {finished}"
    )
    assert waited["data"]["status"] == "FINISHED:COMPLETED"
    assert downloaded["data"]["artifacts"]["global_model"].endswith("workspace/model.safetensors")
    again = cloned["data"]["new_job_id"]
    assert ada.get_job_meta(again)["fedgate"]["bundle"] == digest_of(pack_directory(JOB))
    with suppress(JobNotRunning):
        ada.abort_job(again)


# -- what must not work --------------------------------------------------------------------------


def test_it_listens_where_admins_connect_and_nowhere_else(door):
    listening = [
        (c.laddr.ip.removeprefix("::ffff:"), c.laddr.port)
        for c in psutil.Process(door.program.pid).net_connections()
        if c.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {("127.0.0.1", door.port)}


def test_without_a_certificate_of_its_own_authority_nobody_gets_in(door, tmp_path):
    kit = door.kits / ADA / "startup"
    stranger = tmp_path / "stranger"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", f"/CN={ADA}", "-keyout", f"{stranger}.key", "-out", f"{stranger}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert _greeting(door.port, kit / "client.crt", kit / "client.key"), "an admin is answered"
    assert _greeting(door.port, Path(f"{stranger}.crt"), Path(f"{stranger}.key")) == b""
    assert _greeting(door.port) == b""
    with socket.create_connection(("127.0.0.1", door.port)) as plain:
        assert _answer(plain) == b""


def _greeting(port: int, certificate: Path | None = None, key: Path | None = None) -> bytes:
    """What the door says after a handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    raw = socket.create_connection(("127.0.0.1", port), 10)
    with context.wrap_socket(raw) as connection:
        return _answer(connection)


def _answer(connection: socket.socket) -> bytes:
    try:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return connection.recv(1)
    except (ConnectionError, ssl.SSLError):
        return b""


@pytest.fixture
def upload(ada: Session, jobs: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    """Submit an archive of one's own making, as a client that is not FLARE's could."""
    from nvflare.fuel.hci.client import file_transfer

    def submit(make: Callable[[zipfile.ZipFile], None]) -> str:
        def zip_it(_root: str, _folder: str, target: str) -> None:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
                make(zipped)

        monkeypatch.setattr(file_transfer, "zip_directory_to_file", zip_it)
        return ada.submit_job(str(jobs["quick"]))

    return submit


def bomb(zipped: zipfile.ZipFile) -> None:
    zipped.compresslevel = 1
    with zipped.open("quick/meta.json", "w") as entry:
        for _ in range(65):
            entry.write(bytes(1 << 20))


def traversal(zipped: zipfile.ZipFile) -> None:
    zipped.writestr("quick/meta.json", (JOB / "meta.json").read_text())
    zipped.writestr("quick/../../../evil", "x")


def spy(zipped: zipfile.ZipFile) -> None:
    for path in (JOB / "app").rglob("*.*"):
        zipped.write(path, f"quick/{path.relative_to(JOB)}")
    zipped.writestr(
        "quick/meta.conf", 'include file("/etc/hostname")\ndeploy_map { app = ["@ALL"] }'
    )


def large(zipped: zipfile.ZipFile) -> None:
    name = zipfile.ZipInfo("quick/meta.json")
    zipped.writestr(name, bytes(BundleLimits().archive_bytes + 1), zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("make", "words"),
    [(bomb, "ZIP bomb"), (traversal, "traversal"), (spy, "include"), (large, "too large")],
)
def test_hostile_uploads_are_refused_in_words_and_leave_nothing(door, ada, upload, make, words):
    before = names(ada)
    with pytest.raises(InvalidJobDefinition, match=words):
        upload(make)
    assert names(ada) == before
    assert list((door.data / "uploads").iterdir()) == []
    assert ada.get_system_info().server_info.status == "started"


def test_an_upload_of_gigabytes_is_cut_off_at_once(door, ada, jobs, monkeypatch):
    from nvflare.fuel.hci.client import file_transfer

    def zip_it(_root: str, _folder: str, target: str) -> None:
        with Path(target).open("wb") as file:
            file.truncate(2 << 30)

    monkeypatch.setattr(file_transfer, "zip_directory_to_file", zip_it)
    before = psutil.Process().io_counters().read_chars
    with pytest.raises((InternalError, NoConnection)):
        ada.submit_job(str(jobs["quick"]))
    read = psutil.Process().io_counters().read_chars - before
    assert read < 1 << 30, "of the two that it was to send"
    assert list((door.data / "uploads").iterdir()) == []


def test_an_admin_sees_the_jobs_of_others_and_may_not_touch_them(bob, finished, tmp_path):
    assert bob.get_job_meta(finished)["submitter_name"] == ADA
    for touch in (bob.abort_job, bob.delete_job, bob.clone_job, bob.download_job_result):
        with pytest.raises(AuthorizationError):
            touch(finished)
    with pytest.raises(AuthorizationError):
        bob.get_job_logs(finished, "server")


@pytest.mark.parametrize(
    "command", ["shutdown server", "restart server", "cat server x", "cells", "stress 1 1",
                "sys_info server", "disable_client site-1", "configure_site_log server DEBUG"],
)  # fmt: skip
def test_nobody_operates_the_door_from_outside(ada, command):
    from nvflare.fuel.hci.client.api_status import APIStatus

    answer = ada.api.server_execute(command)
    assert answer["status"] in (APIStatus.ERROR_AUTHORIZATION, APIStatus.SUCCESS)
    assert answer["meta"]["status"] == "not_authorized" or "Unknown command" in str(answer)


@pytest.mark.parametrize(
    ("channel", "topic", "target"),
    [
        ("_net_manager", "stop_cell", "server"),
        ("_net_manager", "process_info", "server"),
        ("server_parent_listener", "heartbeat", "server"),
        ("task", "heart_beat", "server"),
        ("hci_channel", "command", "another admin"),
    ],
)
def test_a_kit_does_not_reach_past_the_commands(door, ada, bob, channel, topic, target):
    """FLARE's cells answer much more, without asking who may."""
    from nvflare.fuel.f3.message import Message

    answer = ada.api.cell.core_cell.send_request(
        channel=channel, topic=topic, request=Message(), timeout=10,
        target=bob.api.cell.get_fqcn() if target == "another admin" else target,
    )  # fmt: skip
    assert answer.headers["cn__return_code"] == "invalid_request", answer.headers
    assert ada.get_system_info().server_info.status == "started"


def test_a_second_door_does_not_share_the_port(door, tmp_path):
    again = subprocess.run(
        [BIN / "fedgate", "flare", "front-door", "--data", tmp_path / "data", "--port",
         str(door.port), "--profile", door.federation.profile_path],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert again.returncode == 69
    assert f"port {door.port} is taken" in again.stderr


# -- when it stops -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def killed(door, ada, jobs) -> tuple[str, str]:
    """A job that ended while there was no door, and one that did not; the door is open again."""
    endless, quick = ada.submit_job(str(jobs["endless"])), ada.submit_job(str(jobs["clinics"]))
    door.wait_until_running(ada, endless)
    job = door.gateway_job(ada.get_job_meta(quick))["id"]
    door.program.kill()
    door.wait(lambda: door.federation.client.job(job)["job"]["state"] == "succeeded", "the job")
    door.start("--datasets", "payroll")
    return quick, endless


@pytest.fixture(scope="module")
def again(door, killed) -> Iterator[Session]:
    session = door.session(ADA)
    yield session
    session.close()


def test_what_ended_while_the_door_was_gone_can_be_fetched(door, again, killed, tmp_path):
    quick, _ = killed
    again.monitor_job(quick, timeout=SECONDS, poll_interval=0.1)
    meta = again.get_job_meta(quick)
    assert meta["status"] == "FINISHED:COMPLETED"
    job = door.gateway_job(meta)
    assert job["state"] == "succeeded"
    assert job["sites"] == ["site-1", "site-2"], "the door knows them under the job's own names"
    folder = Path(again.download_job_result(quick, str(tmp_path)))
    assert (folder / "workspace/model.safetensors").is_file()


def test_what_goes_on_is_followed_again_from_its_beginning(door, again, killed):
    _, endless = killed
    door.wait_until_running(again, endless)
    log = again.get_job_logs(endless, "server")["logs"]["server"]
    assert log.count("site site-1 accepted") == 1
    again.abort_job(endless)
    assert again.get_job_meta(endless)["status"] == "FINISHED:ABORTED"


def test_a_denied_job_says_who_and_why(door, again, jobs):
    job = again.submit_job(str(jobs["quick"]))  # by a door for a dataset that nobody has
    again.monitor_job(job, timeout=SECONDS, poll_interval=0.1)
    meta = again.get_job_meta(job)
    assert meta["status"] == "FINISHED:CAN_NOT_SCHEDULE"
    assert meta["job_deploy_detail"][0].startswith("gateway: denied: site-")
    assert "has no dataset: payroll" in json.dumps(meta["fedgate"]["sites"])
    told = door.gateway_job(meta)
    assert (told["state"], told["signed_by"]) == ("denied", "submitter")
    again.delete_job(job)
    with pytest.raises(JobNotFound):
        again.get_job_meta(job)


def test_nothing_was_left_running_or_run_twice(door, again):
    jobs = door.federation.client.jobs(limit=100)["jobs"]
    states = [job["state"] for job in jobs if "(FLARE: " in job["name"]]  # the door's own
    assert set(states) == {"succeeded", "cancelled", "denied"}
    assert states.count("denied") == 1


def test_a_door_that_is_asked_to_stop_says_so_and_ends_in_order(door, again):
    process = door.program._process
    door.program.ask_to_stop()
    assert process.wait(15) == 0
    assert "front door: stopping" in door.program.log.read_text()
    assert "Traceback" not in door.program.log.read_text()
