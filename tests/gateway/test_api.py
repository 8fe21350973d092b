"""The REST API: jobs, outputs, pages, problems, and the document that describes it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import pytest

from fedgate.guard_rules import STRICT, GuardRules, KindRules
from fedgate.job import JobEvent
from fedgate.task import TaskKind
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.records import OutputKind
from fedgate_gateway.sealed.keys import RecipientKey


@pytest.fixture
def post_job(client, signed):
    """Sign and submit as whoever the token belongs to; ``request`` sends one again."""

    def post(headers, archive, *, key=None, request=None, recipient=None, **choices):
        if key:
            headers = {**headers, "Idempotency-Key": key}
        if request is None:
            name = client.get("/api/v1/whoami", headers=headers).json()["name"]
            choices = {"submitter": name, "recipient": recipient, **choices}
            request = signed(archive, **choices)
        data = {"request": base64.b64encode(request).decode()}
        if recipient is not None:
            data["recipient"] = base64.b64encode(recipient).decode()
        return client.post(
            "/api/v1/jobs",
            headers=headers,
            data=data,
            files={"bundle": ("b.zip", archive, "application/zip")},
        )

    return post


def run_to(state, job_id, *events):
    for event in events:
        state.jobs.transition(job_id, event)


RUNNING = (JobEvent.ACCEPT, JobEvent.ASSIGN, JobEvent.START)


def test_submit_show_list_and_cancel(client, admin, archive, post_job):
    recipient = RecipientKey.generate().public_raw
    made = post_job(
        admin, archive, sites=("site-1", "site-2"), datasets=("a",), min_sites=2,
        config={"lr": 0.2}, name="second try", recipient=recipient, task_seconds=60.0,
    )  # fmt: skip
    assert made.status_code == 201, made.text
    job = made.json()
    assert made.headers["location"] == f"/api/v1/jobs/{job['id']}"
    assert job["sites"] == ["site-1", "site-2"]
    assert (job["config"], job["min_sites"], job["sealed"]) == ({"lr": 0.2}, 2, True)
    assert (job["name"], job["task_seconds"], job["submitter"]) == ("second try", 60, "root")
    detail = client.get(f"/api/v1/jobs/{job['id']}", headers=admin).json()
    assert detail["job"] == job
    assert [site["decision"] for site in detail["sites"]] == ["pending", "pending"]
    assert detail["bundle"]["manifest"]["config"] == {"lr": 0.1, "rounds": 3}
    bundle = client.get(f"/api/v1/jobs/{job['id']}/bundle", headers=admin)
    assert bundle.content == archive
    cancelled = client.post(f"/api/v1/jobs/{job['id']}/cancel", headers=admin).json()
    assert (cancelled["state"], cancelled["reason"]) == ("cancelled", "cancelled by root")
    listed = client.get("/api/v1/jobs?state=cancelled", headers=admin).json()
    assert [found["id"] for found in listed["jobs"]] == [job["id"]]
    assert client.get("/api/v1/jobs?state=running", headers=admin).json()["jobs"] == []


def test_the_same_idempotency_key_gives_the_same_job(admin, archive, state, signed, post_job):
    request = signed(archive, submitter="root")
    first = post_job(admin, archive, key="k1", request=request).json()
    again = post_job(admin, archive, key="k1", request=request)
    assert (again.status_code, again.json()["id"]) == (201, first["id"])
    other = post_job(admin, archive, key="k1", name="changed")
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    assert post_job(admin, archive, key="k2").json()["id"] != first["id"]
    assert len(state.jobs.list().jobs) == 2


def test_one_request_makes_one_job_whatever_key_it_comes_with(
    admin, archive, state, signed, post_job
):
    request = signed(archive, submitter="root")
    first = post_job(admin, archive, key="k1", request=request).json()
    again = post_job(admin, archive, key="k2", request=request)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert first["id"] in again.json()["why"]
    assert len(state.jobs.list().jobs) == 1


def test_idempotency_keys_belong_to_a_token(token, archive, post_job):
    ids = {post_job(token(Scope.JOBS_WRITE), archive, key="same").json()["id"] for _ in range(2)}
    assert len(ids) == 2


def test_the_same_key_at_the_same_time_makes_one_job(state, admin, archive, signed):
    from fedgate_gateway.control.records import SubmitOptions

    who = state.tokens.authenticate(admin["Authorization"].removeprefix("Bearer "))
    options = SubmitOptions(signed(archive, submitter="root"), idempotency_key="k")

    async def run():
        return await asyncio.gather(*(state.jobs.submit(archive, options, who) for _ in range(5)))

    assert len({job.id for job in asyncio.run(run())}) == 1
    assert len(state.jobs.list().jobs) == 1


def test_pages_follow_cursors_and_refuse_foreign_ones(client, admin, submit):
    made = [submit().id for _ in range(5)]
    first = client.get("/api/v1/jobs?limit=3", headers=admin).json()
    rest = client.get("/api/v1/jobs", params={"cursor": first["next_cursor"]}, headers=admin).json()
    assert [job["id"] for job in first["jobs"] + rest["jobs"]] == made[::-1]
    assert rest["next_cursor"] is None
    bad = client.get("/api/v1/jobs?cursor=abc", headers=admin)
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid-message")


def store(state, job, kind, name, content, *, sealed=True):
    stored = asyncio.run(state.objects.put(state.jobs.output_key(job, name), content))
    return state.jobs.add_output(job, kind, name, stored, sealed=sealed)


def test_the_result_is_there_once_the_job_has_ended(client, admin, submit, state):
    job = submit().id
    early = client.get(f"/api/v1/jobs/{job}/result", headers=admin)
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    run_to(state, job, *RUNNING)
    content = bytes(range(256)) * 9000
    store(state, job, OutputKind.MODEL, "model.safetensors", content)
    store(state, job, OutputKind.ARTIFACTS, "artifacts.zip", b"zip", sealed=False)
    run_to(state, job, JobEvent.SUCCEED)
    result = client.get(f"/api/v1/jobs/{job}/result", headers=admin)
    assert result.content == content
    assert result.headers["fedgate-sealed"] == "true"
    sha = base64.b64encode(hashlib.sha256(content).digest()).decode()
    assert result.headers["repr-digest"] == f"sha-256=:{sha}:"
    listed = client.get(f"/api/v1/jobs/{job}/outputs", headers=admin).json()["outputs"]
    assert [(o["name"], o["kind"], o["sealed"]) for o in listed] == [
        ("model.safetensors", "model", True),
        ("artifacts.zip", "artifacts", False),
    ]
    artifacts = client.get(f"/api/v1/jobs/{job}/outputs/artifacts.zip", headers=admin)
    assert artifacts.content == b"zip"
    missing = client.get(f"/api/v1/jobs/{job}/outputs/nothing", headers=admin)
    assert missing.status_code == 404


def test_a_failed_job_says_why_it_has_no_result(client, admin, submit, state):
    job = submit().id
    state.jobs.transition(job, JobEvent.FAIL, reason="all clients failed")
    answer = client.get(f"/api/v1/jobs/{job}/result", headers=admin).json()
    assert answer["code"] == "not-found"
    assert "all clients failed" in answer["why"]


def test_an_output_whose_object_is_gone_is_a_problem_and_not_half_an_answer(
    client, admin, submit, state
):
    job = submit().id
    output = store(state, job, OutputKind.MODEL, "model", b"x")
    asyncio.run(state.objects.delete(output.object_key))
    answer = client.get(f"/api/v1/jobs/{job}/outputs/model", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


def test_logs_are_text_as_recorded_or_as_released(client, admin, submit, state):
    job = submit().id
    state.jobs.record_all(job, [("log", {"text": "one\n"}), ("log", {"text": "two\n"})])
    url = f"/api/v1/jobs/{job}/logs"
    assert client.get(url, headers=admin).text == "one\ntwo\n"
    store(state, job, OutputKind.LOG, "job.log", b"whole log", sealed=False)
    assert client.get(url, headers=admin).text == "whole log"


def test_a_sealed_log_is_to_be_opened_by_the_submitter(client, admin, submit, state):
    job = submit().id
    store(state, job, OutputKind.LOG, "job.log", b"ciphertext")
    answer = client.get(f"/api/v1/jobs/{job}/logs", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "job.log" in answer.json()["remedy"]


def test_sites_show_who_is_enrolled_and_linked(client, admin, token, state):
    sites = client.get("/api/v1/sites", headers=admin).json()["peers"]
    assert [site["name"] for site in sites] == ["site-1", "site-2", "site-3", "site-9"]
    assert not any(site["online"] or site["enrolled"] for site in sites)
    mine = token(Scope.SITES_READ, projects=["other"])
    (site,) = client.get("/api/v1/sites", headers=mine).json()["peers"]
    assert (site["name"], site["projects"]) == ("site-9", ["other"])


def test_sites_show_what_their_owners_opened_in_the_guard(client, admin, state):
    opened = {**STRICT, TaskKind.QUERY: KindRules("like-job")}
    says = {"site-1": GuardRules(), "site-2": GuardRules((), opened)}
    state.site_guard = says.get
    sites = client.get("/api/v1/sites", headers=admin).json()["peers"]
    told = {site["name"]: site["guard"] for site in sites[:3]}
    assert told == {"site-1": [], "site-2": ['query.arrays = "like-job"'], "site-3": None}


def test_metrics_tell_of_jobs_and_requests(client, token, submit):
    submit()
    client.get("/api/v1/jobs", headers=token(Scope.JOBS_READ))
    client.get("/nowhere/at/all")
    text = client.get("/metrics", headers=token(Scope.METRICS_READ)).text
    assert 'fedgate_jobs{state="in_review"} 1.0' in text
    assert 'method="GET",route="/api/v1/jobs",status="200"' in text
    assert "nowhere" not in text
    assert "fedgate_audit_entries" in text


def test_a_gateway_without_its_schema_is_alive_but_not_ready(client, state):
    from sqlalchemy import text

    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    with state.database.engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    assert client.get("/healthz").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_plugins_show_what_is_installed_and_allowed(client, admin):
    found = {p["name"]: p for p in client.get("/api/v1/plugins", headers=admin).json()["adapters"]}
    assert found["flower"]["allowed"]
    assert found["flare"]["allowed"]


# -- audit ---------------------------------------------------------------------------------


def test_the_log_is_proved_by_the_api_alone(client, token, submit, state, tmp_path):
    from fedgate_gateway.audit import Checkpoint, VerifierKey, tree, verify

    headers = token(Scope.AUDIT_READ)
    before = client.get("/api/v1/audit/checkpoint", headers=headers).json()
    job = submit().id
    after = client.get("/api/v1/audit/checkpoint", headers=headers).json()
    key = VerifierKey.parse(after["key"])
    old, new = Checkpoint.open(before["note"], key), Checkpoint.open(after["note"], key)
    page = client.get(f"/api/v1/audit/entries?job={job}", headers=headers).json()
    assert [entry["kind"] for entry in page["entries"]] == ["job.submitted", "job.transition"]
    entry = page["entries"][0]
    position = entry["position"]
    proof = client.get(
        f"/api/v1/audit/proof/inclusion?position={position}&size={new.size}", headers=headers
    ).json()
    leaf = tree.leaf_hash(entry["canonical"].encode())
    assert leaf.hex() == entry["leaf_hash"]
    hashes = [bytes.fromhex(node) for node in proof["hashes"]]
    assert tree.verify_inclusion(leaf, position, new.size, hashes, new.root)
    proof = client.get(
        f"/api/v1/audit/proof/consistency?old={old.size}&size={new.size}", headers=headers
    ).json()
    hashes = [bytes.fromhex(node) for node in proof["hashes"]]
    assert tree.verify_consistency(old.size, new.size, old.root, new.root, hashes)
    exported = tmp_path / "log.jsonl"
    exported.write_bytes(client.get("/api/v1/audit/export", headers=headers).content)
    assert verify(exported, key, older=[before["note"]]).ok


def test_entries_come_in_pages(client, token, submit):
    submit()
    headers = token(Scope.AUDIT_READ)
    start, seen = 0, []
    while start is not None:
        page = client.get(f"/api/v1/audit/entries?start={start}&limit=2", headers=headers).json()
        seen += [entry["position"] for entry in page["entries"]]
        start = page["next_start"]
    assert seen == list(range(len(seen)))
    assert len(seen) >= 4


def test_proofs_for_what_is_not_there_are_not_found(client, token):
    headers = token(Scope.AUDIT_READ)
    for query in (
        "inclusion?position=9999",
        "consistency?old=9999",
        "inclusion?position=0&size=99",
    ):
        answer = client.get(f"/api/v1/audit/proof/{query}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


# -- problems ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("PUT", "/api/v1/jobs", 405, "method-not-allowed"),
        ("GET", "/api/v1/jobs/nonsense", 422, "invalid-request"),
        ("GET", "/api/v1/jobs?limit=0", 422, "invalid-request"),
        ("GET", "/api/v1/jobs/job-000000000000", 404, "not-found"),
        ("GET", "/api/v1/jobs/job-000000000000/events", 404, "not-found"),
        ("GET", "/api/v1/jobs/job-000000000000/result", 404, "not-found"),
        ("POST", "/api/v1/jobs/job-000000000000/cancel", 404, "not-found"),
        ("DELETE", "/api/v1/tokens/tok-none", 404, "not-found"),
        ("POST", "/api/v1/peers/site/nobody/revoke", 404, "not-found"),
        ("POST", "/api/v1/tokens", 422, "invalid-request"),
    ],
)
def test_every_failure_is_a_problem_document(client, admin, method, path, status, code):
    answer = client.request(method, path, headers=admin)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["type"] == f"urn:fedgate:problem:{code}"
    assert problem["instance"] == path.partition("?")[0]
    assert problem["title"] == problem["what"] != ""


def test_an_unexpected_failure_leaks_nothing(client, admin, state, monkeypatch):
    def explode(*args, **kwargs):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(state.jobs, "list", explode)
    answer = client.get("/api/v1/jobs", headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["why"].startswith("incident ")


def test_what_is_wrong_in_a_request_is_named_but_not_repeated(client, admin):
    answer = client.post(
        "/api/v1/tokens", headers=admin, json={"name": "x", "scopes": ["jobs:read"], "secret": "s3"}
    )
    assert answer.status_code == 422
    assert "secret" in answer.json()["why"]
    assert "s3" not in answer.text


@pytest.mark.parametrize("content", [b"{" * 400_000, b"[" * 200_000])
def test_a_large_or_deep_body_is_refused(client, admin, content):
    headers = {**admin, "content-type": "application/json"}
    answer = client.post("/api/v1/tokens", headers=headers, content=content)
    assert answer.status_code in {413, 422, 400}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_large_body_of_unknown_size_is_cut_off(client, admin):
    sent = 0

    def endless():
        nonlocal sent
        while sent < 50_000_000:
            sent += 65536
            yield b" " * 65536

    headers = {**admin, "content-type": "application/json"}
    answer = client.post("/api/v1/tokens", headers=headers, content=endless())
    assert (answer.status_code, answer.json()["what"]) == (413, "the request is too large")


def test_answers_are_neither_cached_nor_sniffed(client, admin):
    for path in ("/api/v1/jobs", "/healthz", "/api/v1/nothing"):
        headers = client.get(path, headers=admin).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


# -- the document --------------------------------------------------------------------------


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_the_openapi_document_is_complete(client):
    document = client.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids)) >= 25
    for where, operation in operations(document):
        assert operation["description"], where
        open_to_all = where in {
            "get /healthz", "get /readyz", "get /api/v1/ca", "post /api/v1/enrol",
        }  # fmt: skip
        assert ("security" in operation) != open_to_all, where
        if not open_to_all:
            assert operation["security"] == [{"HTTPBearer": operation["security"][0]["HTTPBearer"]}]
            any_token_will_do = where == "get /api/v1/whoami"
            assert bool(operation["security"][0]["HTTPBearer"]) != any_token_will_do, where
            assert {"401", "403"} <= set(operation["responses"]), where
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert set(response["content"]) == {"application/problem+json"}, (where, status)


def test_every_reference_in_the_document_resolves(client):
    document = client.get("/api/v1/openapi.json").json()
    text = json.dumps(document)
    schemas = document["components"]["schemas"]
    wanted = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert wanted
    assert wanted <= set(schemas)
    assert "HTTPValidationError" not in text


def test_every_route_is_in_the_document_and_needs_a_token_unless_it_is_meant_to_be_open(
    state, client
):
    """Nothing is open to strangers: every operation is called without a token."""
    document = client.get("/api/v1/openapi.json").json()
    open_to_all = {"isAlive", "isReady", "getCa", "enrol"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] in open_to_all:
                continue
            url = path.replace("{job_id}", "job-000000000000").replace("{name}", "a")
            url = url.replace("{kind}", "site").replace("{token_id}", "tok-1")
            answer = client.request(method, url)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
