"""What `flwr` asks the gateway, and what somebody might ask in its place."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import threading
import time
import zipfile
from dataclasses import replace
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from fedgate.bundle import digest_of, pack_files
from fedgate.job import JobEvent
from fedgate_flower import identity
from fedgate_flower.control import wire_pb2 as pb
from fedgate_gateway.api.app import create_app
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import Decision, OutputKind, PolicyDecision
from fedgate_gateway.control.state import open_gateway_state
from fedgate_gateway.sealed.keys import RecipientKey
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import TokenRow

NOBODY_S = 2**62


def job_of(state, run_id):
    found = [job for job in state.jobs.list().jobs if identity.run_id(job.id) == run_id]
    assert found
    return found[0]


def refusal(response) -> tuple[int, int, str]:
    """Status, Flower's code and the sentence; nothing else is ever in it."""
    body = response.json()
    assert set(body) == {"code", "detail"}
    assert "Traceback" not in body["detail"]
    return response.status_code, body["code"], body["detail"]


def succeed(state, job_id):
    for event in (JobEvent.ACCEPT, JobEvent.ASSIGN, JobEvent.START, JobEvent.SUCCEED):
        state.jobs.transition(job_id, event)


def release(state, job_id, name, content, *, sealed, kind=OutputKind.MODEL):
    stored = asyncio.run(state.objects.put(state.jobs.output_key(job_id, name), content))
    state.jobs.add_output(job_id, kind, name, stored, sealed=sealed)


# -- starting ----------------------------------------------------------------------------------


def test_a_run_becomes_a_job_in_review(state, flwr, archive):
    started = flwr.start(archive, override_config={"rounds": pb.Scalar(integer=5)})
    job = job_of(state, started.run_id)
    assert (job.project, job.submitter, job.framework) == ("health", "alice", "flower")
    assert job.config == {"rounds": 5}
    assert started.federation == "@fedgate/health"
    assert job.id in started.note
    assert "in review: waits for site-1 (offline), site-2 (offline)" in started.note


def test_the_hash_is_flower_s_and_ours(state, flwr, archive):
    run = flwr.run(flwr.start(archive).run_id)
    assert "sha256:" + run.fab_hash == digest_of(archive) == job_of(state, run.run_id).bundle
    assert (run.fab_id, run.fab_version) == ("ada/mean", "1.2.3")


def test_a_run_gets_the_project_s_datasets_unless_it_names_its_own(state, flwr, archive):
    usual = flwr.start(archive).run_id
    own = flwr.start(archive, override_config={"fedgate.datasets": pb.Scalar(text="scans")}).run_id
    assert job_of(state, usual).datasets == ("patients",)
    assert job_of(state, own).datasets == ("scans",)


def test_a_submission_by_the_api_gets_no_datasets_that_it_does_not_name(token, submit):
    assert submit(token()).datasets == ()


def test_a_federation_is_a_project(state, flwr_of, token, archive):
    both = flwr_of(token(projects=("health", "other")))
    assert job_of(state, both.start(archive, federation="@fedgate/other").run_id).project == "other"
    status, code, detail = refusal(both.call("start-run", _start(archive)))
    assert (status, code) == (400, 15)
    assert "yours are: health, other" in detail


def _start(archive, **fields):
    fab = pb.Fab(hash_str=hashlib.sha256(archive).hexdigest(), content=archive)
    return pb.StartRunRequest(fab=fab, **fields)


def test_a_project_of_others_cannot_be_submitted_to(flwr, archive, state):
    for project in ("other", "nowhere"):  # the same words, whether it exists or not
        response = flwr.call("start-run", _start(archive, federation=f"@fedgate/{project}"))
        status, code, detail = refusal(response)
        assert (status, code) == (403, 10)
        assert detail.startswith(f"this token is not for project '{project}'")
    assert not state.jobs.list().jobs


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"nope": pb.Scalar(integer=1)}, "no setting 'nope'"),
        ({"a row of data": pb.Scalar(integer=1)}, "a setting's name is not valid"),
        ({"fedgate.sites": pb.Scalar(text="site-9")}, "has no site 'site-9'"),
        ({"fedgate.sites": pb.Scalar(text="../x")}, "a site's name is not valid"),
        ({"fedgate.min-sites": pb.Scalar(integer=9)}, "at least 9 sites"),
        ({"fedgate.min-sites": pb.Scalar(integer=9)}, "with flwr run: --run-config"),
        ({"fedgate.dataset": pb.Scalar(text="x")}, "fedgate.datasets, fedgate.min-sites"),
        ({"rounds": pb.Scalar(text="abc")}, "'rounds' is a number"),
    ],
)
def test_choices_that_cannot_be_are_refused_with_a_sentence(flwr, archive, config, words):
    status, code, detail = refusal(flwr.call("start-run", _start(archive, override_config=config)))
    assert (status, code) == (400, 15)
    assert words in detail


def test_what_is_no_app_is_refused(flwr, state):
    for content in (b"no zip", pack_files({"readme.md": b"x"})):
        status, code, _ = refusal(flwr.call("start-run", _start(content)))
        assert status == 422
        assert code in (14, 1000)
    assert not state.jobs.list().jobs


def test_a_policy_s_no_is_the_answer(flwr, archive, state, monkeypatch):
    no = lambda _: PolicyDecision(False, ("only on weekdays",))  # noqa: E731
    monkeypatch.setattr(state.jobs, "_intake", replace(state.jobs._intake, policy=no))
    status, code, detail = refusal(flwr.call("start-run", _start(archive)))
    assert (status, code) == (403, 10)
    assert "only on weekdays" in detail


def test_a_registered_key_is_what_outputs_are_sealed_to(client, state, flwr_of, token, archive):
    bearer, key = token(), RecipientKey.generate().public_raw
    answer = client.put(
        "/api/v1/recipient",
        headers={"Authorization": f"Bearer {bearer}"},
        json={"public_key": base64.b64encode(key).decode()},
    )
    assert answer.json()["fingerprint"].startswith("sha256:")
    mine, other_s = flwr_of(bearer).start(archive), flwr_of(token(name="bob")).start(archive)
    assert job_of(state, mine.run_id).recipient == key
    assert job_of(state, other_s.run_id).recipient is None
    assert "no key to seal outputs to" in other_s.note
    assert "no key to seal outputs to" not in mine.note


@pytest.mark.parametrize("key", ["AAAA", "?", "", "A" * 2048])
def test_what_is_no_key_is_not_registered(client, token, key):
    headers = {"Authorization": f"Bearer {token()}"}
    answer = client.put("/api/v1/recipient", headers=headers, json={"public_key": key})
    assert answer.status_code in (400, 422)


# -- looking -----------------------------------------------------------------------------------


def test_runs_are_listed_newest_first_and_as_many_as_asked(flwr, archive):
    made = [flwr.start(archive).run_id for _ in range(4)]
    newest_first = made[::-1]
    assert set(flwr.list().run_dict) == set(made)
    assert set(flwr.list(limit=2).run_dict) == set(newest_first[:2])
    assert set(flwr.list(limit=2, skip=1).run_dict) == set(newest_first[1:3])
    assert not flwr.list(limit=0).run_dict
    assert not flwr.list(limit=2**63, skip=2**64 - 1).run_dict


def test_jobs_that_came_another_way_are_runs_too(flwr, token, submit):
    job = submit(token(name="bob"))
    listed = flwr.list().run_dict
    assert [run.account_name for run in listed.values()] == ["bob"]
    (run_id,) = listed
    assert run_id == identity.run_id(job.id)
    assert flwr.run(run_id).fab_id == "ada/mean"


def test_a_job_that_came_another_way_is_known_by_its_number_before_anybody_lists_it(
    flwr, token, submit
):
    run_id = identity.run_id(submit(token(name="bob")).id)
    assert flwr.run(run_id).account_name == "bob"


def test_what_a_run_waits_for_stands_in_its_status(state, flwr, archive):
    started = flwr.start(archive)
    job = job_of(state, started.run_id)
    state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED)
    details = flwr.run(started.run_id).status.details
    assert details.startswith("in review: waits for site-2 (offline) to decide; site-1 accepted")
    state.jobs.transition(job.id, JobEvent.ACCEPT)
    details = flwr.run(started.run_id).status.details
    assert details == "queued: accepted, waits for room at an enclave and the sites"


def test_why_a_run_was_denied_stands_in_its_status(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    state.jobs.set_site_decision(job.id, "site-2", Decision.DENIED, "not this dataset")
    state.jobs.transition(job.id, JobEvent.DENY)
    status = flwr.run(run_id).status
    assert (status.status, status.sub_status) == ("finished", "failed")
    assert status.details == "denied: site-2: not this dataset"


def test_times_and_traffic_are_shown(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    traffic = {"round": 1, "task": "train", "sites": ["site-1"], "metrics": {}, "seconds": 0.1}
    state.jobs.record(job.id, "round", {**traffic, "sent_bytes": 10, "received_bytes": 7})
    state.jobs.record(job.id, "round", {**traffic, "sent_bytes": "x", "received_bytes": -5})
    succeed(state, job.id)
    run = flwr.run(run_id)
    assert (run.bytes_sent, run.bytes_recv) == (10, 7)
    assert run.pending_at <= run.starting_at <= run.running_at <= run.finished_at
    assert all((run.pending_at, run.starting_at, run.running_at, run.finished_at))


def test_numbers_outlive_the_gateway(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    again = open_gateway_state(state.config)
    try:
        with TestClient(create_app(again)) as client:
            body = pb.ListRunsRequest(run_id=run_id).SerializeToString()
            answer = client.post(
                "/v1/control/list-runs",
                content=body,
                headers={"Content-Type": "application/protobuf",
                         "Authorization": f"Bearer {flwr.bearer}"},
            )  # fmt: skip
            assert run_id in pb.ListRunsResponse.FromString(answer.content).run_dict
    finally:
        again.close()


# -- other people's runs -------------------------------------------------------------------------

ONE_RUN = [
    ("list-runs", pb.ListRunsRequest), ("stream-logs", pb.StreamLogsRequest),
    ("stop-run", pb.StopRunRequest), ("pull-artifacts", pb.PullArtifactsRequest),
]  # fmt: skip


@pytest.mark.parametrize(("call", "request_type"), ONE_RUN)
@pytest.mark.parametrize("run_id", ["theirs", 0, NOBODY_S, 2**63, 2**64 - 1])
def test_runs_of_other_projects_do_not_exist(
    flwr, flwr_of, token, archive, state, call, request_type, run_id
):
    theirs = flwr.start(archive).run_id
    stranger = flwr_of(token(name="eve", projects=("other",)))
    asked = theirs if run_id == "theirs" else run_id
    status, code, detail = refusal(stranger.call(call, request_type(run_id=asked)))
    assert (status, code) == (404, 16)
    shown = asked if asked < 2**63 else 0
    assert detail == f"there is no run {shown} that you may see (see `flwr ls`)"
    assert not job_of(state, theirs).state.final


def test_runs_of_other_projects_are_not_listed(flwr, flwr_of, token, archive):
    flwr.start(archive)
    assert not flwr_of(token(name="eve", projects=("other",))).list().run_dict


def test_a_token_that_only_reads_starts_and_stops_nothing(flwr, flwr_of, token, archive, state):
    run_id = flwr.start(archive).run_id
    reader = flwr_of(token(Scope.JOBS_READ))
    assert reader.run(run_id).run_id == run_id
    assert refusal(reader.call("stop-run", pb.StopRunRequest(run_id=run_id)))[:2] == (403, 10)
    assert refusal(reader.call("start-run", _start(archive)))[:2] == (403, 10)
    assert len(state.jobs.list().jobs) == 1


def test_a_token_that_may_not_read_sees_nothing(flwr, flwr_of, token, archive):
    run_id = flwr.start(archive).run_id
    auditor = flwr_of(token(Scope.AUDIT_READ))
    for call, request_type in ONE_RUN:
        assert refusal(auditor.call(call, request_type(run_id=run_id)))[:2] == (403, 10)
    assert refusal(auditor.call("list-runs", pb.ListRunsRequest()))[:2] == (403, 10)


# -- stopping ------------------------------------------------------------------------------------


def test_a_run_is_stopped_once(flwr, archive):
    run_id = flwr.start(archive).run_id
    assert flwr.call("stop-run", pb.StopRunRequest(run_id=run_id), pb.StopRunResponse).success
    status = flwr.run(run_id).status
    assert (status.status, status.sub_status) == ("finished", "stopped")
    assert status.details == "cancelled: cancelled by alice"
    status, code, detail = refusal(flwr.call("stop-run", pb.StopRunRequest(run_id=run_id)))
    assert (status, code) == (409, 18)
    assert detail.startswith(f"run {run_id} has ended already: job-")
    assert detail.endswith(" cancelled")


# -- logs ------------------------------------------------------------------------------------------


def test_the_log_tells_everything_up_to_the_end(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    state.jobs.set_site_decision(job.id, "site-1", Decision.ACCEPTED, "why not")
    state.jobs.record(job.id, "log", {"text": "epoch 1\nepoch 2\n"})
    state.jobs.transition(job.id, JobEvent.DENY, reason="site-2: no")
    (message,) = flwr.log(run_id)
    for line in ("site site-1 accepted: why not\n", "epoch 1\nepoch 2\n", "denied: site-2: no\n"):
        assert line in message.log_output


def test_the_log_says_how_to_open_what_is_sealed(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    release(state, job.id, "coordinator.log", b"sealed", sealed=True, kind=OutputKind.LOG)
    succeed(state, job.id)
    (message,) = flwr.log(run_id)
    assert f"fedgate job result {job.id}" in message.log_output
    assert f"fedgate job logs {job.id}" in message.log_output


def test_the_log_goes_on_after_a_time(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    state.jobs.record(job.id, "log", {"text": "early\n"})
    state.jobs.transition(job.id, JobEvent.CANCEL, reason="enough")
    (whole,) = flwr.log(run_id)
    state_at = state.jobs.events(job.id, kind="log")[0].at.timestamp()
    (rest,) = flwr.log(run_id, after=state_at)
    assert "early" in whole.log_output
    assert "early" not in rest.log_output
    assert "enough" in rest.log_output
    assert flwr.log(run_id, after=whole.latest_timestamp + 1) == []


def test_a_log_cannot_write_to_the_terminal_of_its_reader(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    state.jobs.record(job.id, "log", {"text": "\x1b]0;owned\x07 \x1b[2J \u202e plain\n"})
    state.jobs.transition(job.id, JobEvent.CANCEL, reason="\x1b[31mred")
    text = "".join(message.log_output for message in flwr.log(run_id))
    assert "plain" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def test_long_logs_come_in_pieces(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    for _ in range(12):
        state.jobs.record(job.id, "log", {"text": "x" * 60_000 + "\n"})
    state.jobs.transition(job.id, JobEvent.CANCEL)
    messages = flwr.log(run_id)
    assert len(messages) > 1
    assert all(len(message.log_output) < 400_000 for message in messages)
    assert sum(message.log_output.count("x") for message in messages) >= 12 * 60_000


def test_the_log_is_told_as_it_happens(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)

    def later():
        time.sleep(0.3)
        state.jobs.record(job.id, "log", {"text": "late\n"})
        state.jobs.transition(job.id, JobEvent.CANCEL)

    thread = threading.Thread(target=later)
    thread.start()
    text = "".join(message.log_output for message in flwr.log(run_id))
    thread.join()
    assert text.index("submitted") < text.index("late") < text.index("cancelled")


@pytest.mark.parametrize("after", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_time_that_is_none_is_refused(flwr, archive, after):
    run_id = flwr.start(archive).run_id
    asked = pb.StreamLogsRequest(run_id=run_id, after_timestamp=after)
    assert refusal(flwr.call("stream-logs", asked))[:2] == (400, 15)


# -- fetching ------------------------------------------------------------------------------------


def pull(flwr, run_id) -> str:
    asked = pb.PullArtifactsRequest(run_id=run_id)
    return flwr.call("pull-artifacts", asked, pb.PullArtifactsResponse).url


@pytest.fixture
def released(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    job = job_of(state, run_id)
    release(state, job.id, "model.safetensors", b"ciphertext" * 200_000, sealed=True)
    release(state, job.id, "coordinator.log", b"plain", sealed=False, kind=OutputKind.LOG)
    succeed(state, job.id)
    return run_id, job


def test_a_run_that_has_not_ended_has_nothing_to_pull(flwr, archive):
    asked = pb.PullArtifactsRequest(run_id=flwr.start(archive).run_id)
    status, code, detail = refusal(flwr.call("pull-artifacts", asked))
    assert (status, code) == (409, 21)
    assert "has released nothing yet" in detail


def test_a_run_that_released_nothing_says_why(state, flwr, archive):
    run_id = flwr.start(archive).run_id
    state.jobs.transition(job_of(state, run_id).id, JobEvent.DENY, reason="site-1: no")
    status, _, detail = refusal(flwr.call("pull-artifacts", pb.PullArtifactsRequest(run_id=run_id)))
    assert status == 404
    assert detail.endswith("released nothing: it is denied: site-1: no")


def test_the_link_gives_everything_as_it_is_stored(client, flwr, released):
    run_id, job = released
    url = pull(flwr, run_id)
    assert url.startswith("https://gateway.example:8443/outputs/")
    answer = client.get(url)
    assert answer.headers["content-type"] == "application/zip"
    assert f'filename="{job.id}.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.read("model.safetensors.sealed") == b"ciphertext" * 200_000
        assert archive.read("coordinator.log") == b"plain"
        readme = archive.read("README.txt").decode()
    assert f"fedgate job result {job.id}" in readme
    assert "the gateway could have changed it" in readme


def test_a_link_that_was_changed_opens_nothing(client, flwr, released):
    url = pull(flwr, released[0])
    ticket, name = url.split("/")[-2:]
    job, token, until, mac = ticket.split(".")
    other = job[:-1] + ("0" if job[-1] != "0" else "1")
    later = str(int(until) + 1000)
    forged = [
        f"{other}.{token}.{until}.{mac}", f"{job}.{token}.{later}.{mac}",
        f"{job}.tok-{'0' * 12}.{until}.{mac}", f"{job}.{token}.{until}.{'A' * 43}",
        f"{job}.{token}.{until}.", "x", "%00", ticket + "x",
    ]  # fmt: skip
    for text in forged:
        assert client.get(f"/outputs/{text}/{name}").status_code in (401, 404), text
    assert client.get(f"/outputs/{ticket}/{other}.zip").status_code == 401
    assert client.get(url).status_code == 200


def test_a_link_expires(client, flwr, released, clock):
    url = pull(flwr, released[0])
    clock.pass_(599)
    assert client.get(url).status_code == 200
    clock.pass_(2)
    answer = client.get(url)
    assert (answer.status_code, answer.json()["what"]) == (401, "this link has expired")


@pytest.mark.parametrize("change", [{"revoked": utc_now()}, {"projects": ["other"]},
                                    {"expires": utc_now() - timedelta(1)}])  # fmt: skip
def test_a_link_counts_only_as_long_as_the_token_does(client, state, flwr, released, change):
    url = pull(flwr, released[0])
    with state.database.write() as session:
        session.execute(update(TokenRow).where(TokenRow.name == "alice").values(**change))
    assert client.get(url).status_code in (401, 404)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:443", "gateway.example@evil.example", "gateway.example/x",
     "gateway.example:99999999", "[::1", ""],
)  # fmt: skip
def test_a_forged_host_is_in_no_link(flwr, released, host):
    asked = pb.PullArtifactsRequest(run_id=released[0])
    response = flwr.call("pull-artifacts", asked, Host=host)
    url = pb.PullArtifactsResponse.FromString(response.content).url
    assert url.startswith("https://gateway.example:8443/outputs/")
