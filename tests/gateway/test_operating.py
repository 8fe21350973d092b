"""What an operator meets: a second gateway, a lost CA, a lost token, a store that is not there."""

from __future__ import annotations

import shutil
import stat

import pytest

from fedgate.errors import Conflict, InvalidConfig, Unauthenticated, Unavailable
from fedgate_gateway.control.principal import Scope
from fedgate_gateway.control.recovery import recover
from fedgate_gateway.control.state import ADMIN_TOKEN_FILE, open_database, open_gateway_state
from fedgate_gateway.store import Database
from fedgate_gateway.store.lease import take_lease


def read_token(file):
    return file.read_text().strip()


# -- one gateway for one database -----------------------------------------------------------------


def test_a_second_gateway_on_one_folder_is_refused_and_told_of_the_first(data, make_config):
    config = make_config(data)
    first = take_lease(open_database(config), data)
    with pytest.raises(Conflict, match=r"another gateway runs on this database.*process \d+"):
        take_lease(open_database(config), data, patience=0.3)
    first.release()
    take_lease(open_database(config), data, patience=0).release()


def test_two_folders_with_one_database_share_its_lease(data, make_config, tmp_path):
    config = make_config(tmp_path / "other").model_copy(
        update={"database": f"sqlite:///{data / 'gateway.db'}"}
    )
    first = take_lease(open_database(make_config(data)), data)
    with pytest.raises(Conflict):
        take_lease(open_database(config), config.data, patience=0)
    first.release()


# -- getting back in ------------------------------------------------------------------------------


def test_the_last_administrators_token_cannot_be_revoked(state):
    (admin,) = state.tokens.list()
    state.tokens.create("deputy", [Scope.ADMIN], projects=["health"])
    with pytest.raises(Conflict, match="last token of an administrator"):
        state.tokens.revoke(admin.id, actor="admin")
    _, other = state.tokens.create("second", [Scope.ADMIN])
    state.tokens.revoke(admin.id, actor="admin")
    with pytest.raises(Conflict):
        state.tokens.revoke(other.id, actor="admin")


def test_a_lost_token_is_replaced_on_the_gateways_own_machine(data, make_config, reopen):
    config, file = make_config(data), data / ADMIN_TOKEN_FILE
    before = read_token(file)
    recovered = recover(config)
    assert recovered.token_file == file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    state = reopen()
    assert read_token(file) != before
    assert Scope.ADMIN in state.tokens.authenticate(read_token(file)).scopes
    created = [e for e in state.audit.entries() if e.entry.kind == "token.created"]
    assert len(created) == 2


def test_no_token_is_made_while_the_gateway_runs(data, make_config):
    config = make_config(data)
    running = take_lease(open_database(config), data)
    with pytest.raises(Conflict, match="another gateway runs"):
        recover(config)
    running.release()


def test_a_lost_ca_is_not_replaced_behind_the_back_of_enrolled_peers(
    data, make_config, newcomer, reopen
):
    state = reopen()
    token = state.enrolments.invite("site", "site-1").token
    certificate = state.enrolments.redeem(newcomer(token).request()).certificate_pem
    state.close()
    shutil.rmtree(data / "pki")
    with pytest.raises(InvalidConfig, match=r"CA is gone.*site-1.*restore"):
        open_gateway_state(make_config(data))
    assert not (data / "pki" / "ca.key").exists()
    assert recover(make_config(data), new_ca=True).revoked_peers == 1
    with pytest.raises(Unauthenticated):
        reopen().peers.admit(certificate)


def test_a_ca_that_is_there_is_not_given_up_by_mistake(data, make_config):
    with pytest.raises(InvalidConfig, match="CA is still in"):
        recover(make_config(data), new_ca=True)


# -- what is not there is named -------------------------------------------------------------------


def test_without_its_object_store_a_gateway_is_not_ready(client, state, monkeypatch):
    assert client.get("/readyz").status_code == 200

    async def away() -> None:
        raise Unavailable("the object store failed", why="connection refused")

    monkeypatch.setattr(state.objects, "check", away)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "object store" in answer.json()["title"] + answer.json().get("detail", "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres-at-home", "no URL of a database"),
        ("nosuchdb://host/name", "no URL of a database"),
        ("mysql+pymysql://host/name", "driver is not installed"),
    ],
)
def test_a_wrong_url_is_told_apart(make_config, tmp_path, url, words):
    with pytest.raises(InvalidConfig, match=words):
        open_database(make_config(tmp_path).model_copy(update={"database": url}))


def test_a_database_that_is_down_is_said_to_be(tmp_path):
    pytest.importorskip("psycopg")
    database = Database.at(f"postgresql://fedgate@/postgres?host={tmp_path}")
    with pytest.raises(Unavailable, match="database does not answer"):
        database.migrate()


def test_a_newer_schema_is_said_to_be(tmp_path):
    database = Database.in_folder(tmp_path)
    database.migrate()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InvalidConfig, match=r"newer fedgate.*9999"):
        database.migrate()
