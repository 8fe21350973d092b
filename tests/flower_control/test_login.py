"""`flwr login`: a person approves a command, and the command gets no more than that."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from fedgate.errors import Unavailable
from fedgate.front_door import Asker
from fedgate_flower.control import wire_pb2 as pb
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.front import device, logins
from fedgate_gateway.front.tables import LoginRow
from fedgate_gateway.store.base import utc_now
from fedgate_gateway.store.tables import TokenRow


@pytest.fixture
def nobody(flwr_of):
    """A command without a token."""
    return flwr_of("")


def begin(nobody) -> pb.GetLoginDetailsResponse:
    asked = pb.GetLoginDetailsRequest()
    return nobody.call("get-login-details", asked, pb.GetLoginDetailsResponse)


def code_of(begun) -> str:
    return begun.verification_uri_complete.partition("?code=")[2]


def poll(nobody, device_code: str) -> pb.GetAuthTokensResponse:
    asked = pb.GetAuthTokensRequest(device_code=device_code)
    return nobody.call("get-auth-tokens", asked, pb.GetAuthTokensResponse)


def refused_poll(nobody, device_code: str):
    return nobody.call("get-auth-tokens", pb.GetAuthTokensRequest(device_code=device_code))


def answer(client, code: str, token: str = "", how: str = "approve"):
    return client.post(device.PAGE, data={"code": code, "token": token, "answer": how})


@pytest.fixture
def login(client, nobody, token):
    """A whole login in the name of a fresh token; gives both tokens of the command."""

    def run(bearer: str = "", **fields) -> pb.GetAuthTokensResponse:
        begun = begin(nobody)
        assert answer(client, code_of(begun), bearer or token(**fields)).status_code == 200
        return poll(nobody, begun.device_code)

    return run


# -- the flow ------------------------------------------------------------------------------------


def test_a_person_lets_a_command_in(client, nobody, flwr_of, token, archive):
    begun = begin(nobody)
    assert begun.authn_type == "oidc"
    assert 0 < begun.interval < begun.expires_in
    assert begun.verification_uri_complete.startswith(
        "https://gateway.example:8443/login/device?code="
    )
    waiting = poll(nobody, begun.device_code)
    assert (waiting.access_token, waiting.refresh_token) == ("", "")
    page = client.get(begun.verification_uri_complete)
    assert code_of(begun) in page.text
    assert "testclient" in page.text  # where the command runs
    done = answer(client, code_of(begun), token(name="alice"))
    assert "The command acts as <b>alice</b>" in done.text
    got = poll(nobody, begun.device_code)
    command = flwr_of(got.access_token)
    run_id = command.start(archive).run_id
    assert command.run(run_id).account_name == "alice"


def test_the_tokens_are_given_once(client, nobody, token):
    begun = begin(nobody)
    answer(client, code_of(begun), token())
    assert poll(nobody, begun.device_code).access_token
    assert refused_poll(nobody, begun.device_code).status_code == 401


def test_a_refusal_reaches_the_command(client, nobody):
    begun = begin(nobody)
    assert "Refused" in answer(client, code_of(begun), how="deny").text
    refused = refused_poll(nobody, begun.device_code)
    assert (refused.status_code, refused.json()["detail"]) == (
        403, "the login was refused: somebody said so in the browser",
    )  # fmt: skip


def test_a_login_is_void_after_ten_minutes(client, nobody, token, clock):
    begun = begin(nobody)
    clock.pass_(begun.expires_in + 1)
    assert client.get(begun.verification_uri_complete).status_code == 404
    assert answer(client, code_of(begun), token()).status_code == 404
    assert refused_poll(nobody, begun.device_code).status_code == 401


def test_an_access_token_lasts_minutes_and_a_refresh_token_gets_the_next(
    nobody, login, flwr_of, clock
):
    got = login()
    clock.pass_(logins.ACCESS_SECONDS - 1)
    assert flwr_of(got.access_token).list() is not None
    clock.pass_(2)
    late = flwr_of(got.access_token).call("list-runs", pb.ListRunsRequest())
    assert (late.status_code, late.headers["www-authenticate"]) == (401, "Bearer")
    asked = pb.RefreshAuthTokensRequest(refresh_token=got.refresh_token)
    fresh = nobody.call("refresh-auth-tokens", asked, pb.RefreshAuthTokensResponse)
    assert fresh.access_token != got.access_token
    assert fresh.refresh_token
    assert flwr_of(fresh.access_token).list() is not None


def test_two_commands_that_refresh_at_once_both_go_on(nobody, login, flwr_of):
    got = login()
    asked = pb.RefreshAuthTokensRequest(refresh_token=got.refresh_token)
    both = [
        nobody.call("refresh-auth-tokens", asked, pb.RefreshAuthTokensResponse) for _ in range(2)
    ]
    assert both[0].access_token != both[1].access_token
    for pair in both:
        assert flwr_of(pair.access_token).list() is not None


def test_a_login_ends_after_thirty_days(nobody, login, clock):
    got = login()
    clock.pass_(logins.LOGIN_SECONDS + 1)
    asked = pb.RefreshAuthTokensRequest(refresh_token=got.refresh_token)
    assert nobody.call("refresh-auth-tokens", asked).status_code == 401


@pytest.mark.parametrize("change", [{"revoked": utc_now()}, {"expires": utc_now() - timedelta(1)}])
def test_a_login_ends_with_its_token(nobody, login, flwr_of, state, change):
    got = login(name="mallory")
    with state.database.write() as session:
        session.execute(update(TokenRow).where(TokenRow.name == "mallory").values(**change))
    command = flwr_of(got.access_token)
    assert command.call("list-runs", pb.ListRunsRequest()).status_code == 401
    asked = pb.RefreshAuthTokensRequest(refresh_token=got.refresh_token)
    assert nobody.call("refresh-auth-tokens", asked).status_code == 401


def test_a_login_that_was_revoked_is_over_at_once(login, flwr_of, state):
    got = login()
    with state.database.write() as session:
        session.execute(update(LoginRow).values(revoked=utc_now()))
    assert flwr_of(got.access_token).call("list-runs", pb.ListRunsRequest()).status_code == 401


# -- no more than that -----------------------------------------------------------------------------


def test_an_administrator_s_login_administers_nothing(client, login, token, flwr_of):
    got = login(token(Scope.ADMIN, name="root", projects=None))
    assert flwr_of(got.access_token).list() is not None
    for bearer in (got.access_token, got.refresh_token):
        headers = {"Authorization": f"Bearer {bearer}"}
        for path in ("/api/v1/tokens", "/api/v1/jobs", "/api/v1/audit/checkpoint"):
            assert client.get(path, headers=headers).status_code == 401


def test_a_login_has_no_scope_that_it_does_not_need(client, login, token):
    office = client.app.state.office
    for scopes in ([Scope.ADMIN], list(Scope)):
        access = login(token(*scopes)).access_token
        assert office.authenticate(access).scopes == {
            Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.SITES_READ
        }  # fmt: skip
    reader = login(token(Scope.JOBS_READ, Scope.AUDIT_READ)).access_token
    assert office.authenticate(reader).scopes == {Scope.JOBS_READ}


def test_a_refresh_token_is_no_access_token(login, flwr_of, nobody):
    got = login()
    assert flwr_of(got.refresh_token).call("list-runs", pb.ListRunsRequest()).status_code == 401
    for wrong in (got.access_token, "fgr_" + "A" * 43, "", "x" * 5000, "fgr_\u00e9" + "A" * 42):
        asked = pb.RefreshAuthTokensRequest(refresh_token=wrong)
        assert nobody.call("refresh-auth-tokens", asked).status_code == 401


def test_a_login_sees_what_its_token_sees(login, token, flwr_of, flwr, archive):
    run_id = flwr.start(archive).run_id
    stranger = flwr_of(login(token(name="eve", projects=("other",))).access_token)
    assert stranger.call("stop-run", pb.StopRunRequest(run_id=run_id)).status_code == 404


def test_a_login_loses_what_its_token_loses(login, flwr_of, flwr, archive, state):
    command = flwr_of(login(name="bob").access_token)
    run_id = flwr.start(archive).run_id
    with state.database.write() as session:
        session.execute(update(TokenRow).where(TokenRow.name == "bob").values(scopes=["jobs:read"]))
    assert command.run(run_id).run_id == run_id
    assert command.call("stop-run", pb.StopRunRequest(run_id=run_id)).status_code == 403


# -- the page, attacked --------------------------------------------------------------------------


def test_wrong_tokens_void_a_login(client, nobody, token):
    begun = begin(nobody)
    for _ in range(5):
        wrong = answer(client, code_of(begun), "fgt_" + "A" * 43)
        assert wrong.status_code in (401, 404)
    assert answer(client, code_of(begun), token()).status_code == 404
    assert refused_poll(nobody, begun.device_code).status_code == 403


@pytest.mark.parametrize("bad", ["", "fga_" + "A" * 43, "' OR 1=1", "x" * 3000])
def test_a_wrong_token_approves_nothing(client, nobody, bad):
    begun = begin(nobody)
    assert answer(client, code_of(begun), bad).status_code == 401
    assert not poll(nobody, begun.device_code).access_token


def test_a_token_without_the_right_to_read_approves_nothing(client, nobody, token):
    begun = begin(nobody)
    assert answer(client, code_of(begun), token(Scope.METRICS_READ)).status_code == 403
    assert not poll(nobody, begun.device_code).access_token


def test_a_login_is_approved_once(client, nobody, token):
    begun = begin(nobody)
    assert answer(client, code_of(begun), token(name="alice")).status_code == 200
    assert answer(client, code_of(begun), token(name="mallory")).status_code == 404
    assert answer(client, code_of(begun), how="deny").status_code == 404
    assert poll(nobody, begun.device_code).access_token


@pytest.mark.parametrize("code", ["", "AAAA-AAAA", "<script>alert(1)</script>", "AAAA", "é" * 9,
                                  "BBBB-BBBB&x=1", "BBBBBBBBB"])  # fmt: skip
def test_a_code_that_is_none_is_never_echoed(client, code):
    for page in (client.get(device.PAGE, params={"code": code}), answer(client, code, "x")):
        assert page.status_code in (400, 404)
        assert "<script>" not in page.text
        assert not code or code not in page.text


def test_names_are_shown_as_text(client, nobody, token):
    begun = begin(nobody)
    page = answer(client, code_of(begun), token(name="<img src=x onerror=alert(1)>"))
    assert page.status_code == 200
    assert "<img" not in page.text


def test_the_page_loads_and_leads_nowhere_else(client, nobody):
    page = client.get(begin(nobody).verification_uri_complete)
    policy = page.headers["content-security-policy"]
    for rule in ("default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert "set-cookie" not in page.headers


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"code=x&" + b"a=1&" * 50, "application/x-www-form-urlencoded"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"", ""),
        (b"code=" + b"A" * 20_000, "application/x-www-form-urlencoded"),
    ],
)
def test_a_form_that_is_none_is_refused(client, body, kind):
    page = client.post(device.PAGE, content=body, headers={"Content-Type": kind})
    assert page.status_code == 400


def test_codes_and_device_codes_are_worth_nothing_for_each_other(client, nobody, token):
    begun = begin(nobody)
    assert refused_poll(nobody, code_of(begun)).status_code == 401
    assert answer(client, begun.device_code, token()).status_code == 400
    for guess in ("", "A" * 43, "x" * 10_000):
        assert refused_poll(nobody, guess).status_code == 401


def test_one_address_cannot_take_every_login(nobody):
    for _ in range(16):
        begin(nobody)
    flood = nobody.call("get-login-details", pb.GetLoginDetailsRequest())
    assert flood.status_code == 503
    assert "too many logins" in flood.json()["detail"]


def test_many_addresses_cannot_fill_the_memory(client):
    office = client.app.state.office

    async def flood():
        for number in range(5000):
            await office.login.begin(Asker("", f"10.0.{number // 250}.{number % 250}"))

    with pytest.raises(Unavailable):
        asyncio.run(flood())
    assert len(office.login._pending) <= 1024


@pytest.mark.parametrize("host", ["evil.example", "gateway.example.evil.example", "x/../y"])
def test_a_forged_host_does_not_lead_people_elsewhere(nobody, host):
    asked = nobody.call("get-login-details", pb.GetLoginDetailsRequest(), Host=host)
    url = pb.GetLoginDetailsResponse.FromString(asked.content).verification_uri_complete
    assert url.startswith("https://gateway.example:8443/login/device")


# -- what is kept ----------------------------------------------------------------------------------


def test_no_secret_of_a_login_is_stored_in_clear(login, state, data):
    got = login()
    with state.database.engine.begin() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    for file in data.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for secret in (got.access_token, got.refresh_token):
                assert secret[4:].encode() not in content, file


def test_logins_are_in_the_audit_log(login, state):
    login(name="carol")
    entries = [logged.entry for logged in state.audit.entries(kind="login.opened")]
    assert entries[-1].actor == "carol"
    assert entries[-1].data["way"] == "device"


def test_a_token_cannot_have_logins_without_end(login, token, state, nobody):
    bearer = token(name="dave")
    first = login(bearer)
    for _ in range(32):
        last = login(bearer)
    with state.database.read() as session:
        rows = session.scalars(select(LoginRow).where(LoginRow.revoked.is_(None))).all()
    assert len(rows) == 32
    for pair, status in ((first, 401), (last, 200)):
        asked = pb.RefreshAuthTokensRequest(refresh_token=pair.refresh_token)
        assert nobody.call("refresh-auth-tokens", asked).status_code == status


def test_access_tokens_in_memory_are_bounded(client, login, monkeypatch):
    monkeypatch.setattr(logins, "_MOST_ACCESS", 3)
    for _ in range(5):
        login()
    assert len(client.app.state.office.logins._access) <= 3


# -- without a browser ---------------------------------------------------------------------------


def test_who_has_a_token_can_log_a_command_in(client, token, flwr_of):
    headers = {"Authorization": f"Bearer {token(name='erin')}"}
    made = client.post("/api/v1/logins", headers=headers)
    assert made.status_code == 201
    assert made.json()["expires_in"] == logins.ACCESS_SECONDS
    assert flwr_of(made.json()["access_token"]).list() is not None


@pytest.mark.parametrize("scope", [Scope.JOBS_READ, Scope.AUDIT_READ])
def test_a_token_that_cannot_submit_logs_no_command_in(client, token, scope):
    headers = {"Authorization": f"Bearer {token(scope)}"}
    assert client.post("/api/v1/logins", headers=headers).status_code == 403
    put = client.put("/api/v1/recipient", headers=headers, json={"public_key": "AAAA"})
    assert put.status_code == 403


def test_a_login_cannot_make_another(client, login):
    headers = {"Authorization": f"Bearer {login().access_token}"}
    assert client.post("/api/v1/logins", headers=headers).status_code == 401
