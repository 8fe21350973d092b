"""Tokens: who may do what, and how those who may not are turned away."""

from __future__ import annotations

import base64
import stat
from datetime import timedelta

import pytest
from sqlalchemy import text, update

from fedgate.errors import Unauthenticated
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import TokenRow


def test_a_request_without_a_token_is_turned_away(client):
    answer = client.get("/api/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer fgt_wrong", "Bearer fgt_" + "A" * 43, "Basic Zmd0OmE=",
     "Bearer " + "x" * 5000, "Bearer ' OR 1=1 --", "bearer fge_abc"],
)  # fmt: skip
def test_a_wrong_token_is_turned_away(client, header):
    assert client.get("/api/v1/jobs", headers={"Authorization": header}).status_code == 401


def test_a_stored_hash_is_no_token(client, token, state):
    token()
    with state.database.read() as session:
        digest = session.query(TokenRow.hash).first()[0]
    for guess in (digest.hex(), "fgt_" + digest.hex()[:43]):
        answer = client.get("/api/v1/jobs", headers={"Authorization": f"Bearer {guess}"})
        assert answer.status_code == 401


def test_no_token_is_stored_in_clear(state, token, data):
    secret = token()["Authorization"].removeprefix("Bearer ").encode()
    with state.database.engine.begin() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    for file in data.rglob("*"):
        if file.is_file() and file.name != "admin-token":
            assert secret not in file.read_bytes(), file
            assert secret[4:] not in file.read_bytes(), file


def test_an_expired_token_is_turned_away(client, token, state):
    headers = token(Scope.JOBS_READ, expires=utc_now() + timedelta(hours=1))
    assert client.get("/api/v1/jobs", headers=headers).status_code == 200
    with state.database.write() as session:
        session.execute(update(TokenRow).values(expires=utc_now() - timedelta(seconds=1)))
    answer = client.get("/api/v1/jobs", headers=headers)
    assert (answer.status_code, answer.json()["what"]) == (401, "the token has expired")


def test_a_revoked_token_is_turned_away(client, admin):
    made = client.post(
        "/api/v1/tokens", headers=admin, json={"name": "bob", "scopes": ["jobs:read"]}
    ).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert client.get("/api/v1/jobs", headers=headers).status_code == 200
    url = f"/api/v1/tokens/{made['record']['id']}"
    assert client.delete(url, headers=admin).status_code == 204
    assert client.get("/api/v1/jobs", headers=headers).status_code == 401
    assert client.delete(url, headers=admin).status_code == 404


CALLS = [
    ("GET", "/api/v1/jobs", Scope.JOBS_READ),
    ("POST", "/api/v1/jobs/job-000000000000/cancel", Scope.JOBS_WRITE),
    ("GET", "/api/v1/sites", Scope.SITES_READ),
    ("GET", "/api/v1/audit/checkpoint", Scope.AUDIT_READ),
    ("GET", "/metrics", Scope.METRICS_READ),
    ("GET", "/api/v1/tokens", Scope.ADMIN),
    ("POST", "/api/v1/enrolments", Scope.ADMIN),
    ("POST", "/api/v1/peers/site/site-1/revoke", Scope.ADMIN),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_every_other_scope_together_is_not_enough(client, token, method, path, scope):
    others = [other for other in Scope if other not in (scope, Scope.ADMIN)]
    body = {"kind": "site", "name": "site-1"} if path.endswith("enrolments") else None
    answer = client.request(method, path, headers=token(*others), json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    assert scope in answer.json()["why"]
    assert client.request(method, path, headers=token(scope), json=body).status_code != 403


def test_a_token_of_another_project_sees_and_does_nothing(client, token, submit, archive, signed):
    job = submit().id
    stranger = token(Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.AUDIT_READ, projects=["other"])
    assert client.get("/api/v1/jobs", headers=stranger).json()["jobs"] == []
    for path in ("", "/bundle", "/events", "/logs", "/outputs", "/outputs/model", "/result"):
        assert client.get(f"/api/v1/jobs/{job}{path}", headers=stranger).status_code == 404, path
    assert client.post(f"/api/v1/jobs/{job}/cancel", headers=stranger).status_code == 404
    assert client.get(f"/api/v1/audit/entries?job={job}", headers=stranger).status_code == 404
    for path in ("entries", "export"):
        answer = client.get(f"/api/v1/audit/{path}", headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (403, "denied")
    for project in ("health", "no-such-project"):
        request = base64.b64encode(signed(archive, project=project)).decode()
        answer = client.post(
            "/api/v1/jobs", headers=stranger, data={"request": request}, files={"bundle": archive}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "denied")


def test_tokens_are_listed_without_their_secret(client, admin):
    made = client.post(
        "/api/v1/tokens",
        headers=admin,
        json={"name": "bob", "scopes": ["jobs:read"], "projects": ["health"], "seconds": 60},
    ).json()
    assert made["token"].startswith("fgt_")
    listed = client.get("/api/v1/tokens", headers=admin)
    assert made["record"] in listed.json()["tokens"]
    assert made["token"] not in listed.text


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["admin"]}, {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["everything"]}, {"name": "a", "scopes": ["admin"], "seconds": 0},
        {"name": "a", "scopes": ["admin"], "projects": ["no-such"]}, {"scopes": ["admin"]},
        {"name": "a\nb", "scopes": ["admin"]},
    ],
)  # fmt: skip
def test_tokens_that_make_no_sense_are_refused(client, admin, body):
    before = client.get("/api/v1/tokens", headers=admin).json()
    assert client.post("/api/v1/tokens", headers=admin, json=body).status_code in {400, 404, 422}
    assert client.get("/api/v1/tokens", headers=admin).json() == before


def test_the_first_start_leaves_an_administrators_token_and_later_ones_do_not(state, data, client):
    file = data / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().strip()
    assert state.tokens.authenticate(secret).scopes == {Scope.ADMIN}
    file.unlink()
    assert not state.tokens.bootstrap(file)
    assert not file.exists()


def test_making_and_revoking_tokens_is_logged(client, admin, state):
    made = client.post(
        "/api/v1/tokens", headers=admin, json={"name": "bob", "scopes": ["jobs:read"]}
    ).json()
    client.delete(f"/api/v1/tokens/{made['record']['id']}", headers=admin)
    kinds = [found.entry.kind for found in state.audit.entries(limit=1000)]
    assert kinds[-2:] == ["token.created", "token.revoked"]
    assert all(
        made["token"] not in str(found.entry.data) for found in state.audit.entries(limit=1000)
    )


def test_a_token_without_its_row_is_nobody(state):
    with pytest.raises(Unauthenticated):
        state.tokens.authenticate("fgt_" + "A" * 43)
